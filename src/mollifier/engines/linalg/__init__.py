"""Factorisations that engines share."""
