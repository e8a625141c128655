"""What the data determine: structure, slopes and Fisher information."""
