"""Simulated nuclei and studies."""
