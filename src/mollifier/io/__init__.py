"""Files: atomic writes, checksums, locks, YAML."""
