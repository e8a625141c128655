"""Formats of microscope files: one file and one line of the registry each."""
