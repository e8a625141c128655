"""Pictures of a solution, and of a comparison of several."""

from mollifier.report.comparison import save_comparison
from mollifier.report.figures import save_figures

__all__ = ["save_comparison", "save_figures"]
