"""B-splines: their basis, and bounds of their values."""
