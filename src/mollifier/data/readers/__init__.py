"""Formats of data files: one file a format, one line a format in the registry."""
