"""What the data determine, whether an answer holds, and how engines compare."""
