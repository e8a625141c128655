"""Whether an answer holds: the equation solved forward and held against the data."""
