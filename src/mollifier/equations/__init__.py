"""The equation language: text to array programs."""
