"""The network engine."""
