"""Engines: ways from an inverse problem to a solution."""
