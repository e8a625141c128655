"""Tests that every answer passes before it is called converged."""
