"""The joint engine: states and unknowns together, as splines."""
