"""Chromatin: microscope files to fields of density and volume fractions, and on to reaction rates."""
