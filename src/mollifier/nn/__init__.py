"""Networks, from coordinates to values, and their derivatives."""
