"""Kernels, grids, stencils and the mollifier layer."""
