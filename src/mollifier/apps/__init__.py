"""Applications: from the files of one field of science to its answers, on top of the general engines."""
