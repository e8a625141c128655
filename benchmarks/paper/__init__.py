"""The problems of arXiv 2505.11682."""
