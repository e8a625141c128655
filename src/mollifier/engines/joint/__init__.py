"""The joint engine: states and unknowns together, as splines, until the equation holds exactly."""

from mollifier.engines.joint.engine import solve_joint

__all__ = ["solve_joint"]
