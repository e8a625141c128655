"""Other programs on the same data."""
