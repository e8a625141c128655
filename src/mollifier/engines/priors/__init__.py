"""Priors of unknown fields."""
