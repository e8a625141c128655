"""One problem, several engines."""
