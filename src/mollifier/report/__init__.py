"""Pictures of a solution."""

from mollifier.report.figures import save_figures

__all__ = ["save_figures"]
