"""Measured fields."""
