"""Benchmarks of mollifier: run by ``python -m benchmarks``."""
