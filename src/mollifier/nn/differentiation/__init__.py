"""Derivatives of a network on a grid."""
