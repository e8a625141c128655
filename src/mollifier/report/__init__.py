"""Pictures of a solution, of a comparison of several, and of a benchmark."""

from mollifier.report.benchmarks import save_benchmark
from mollifier.report.comparison import save_comparison
from mollifier.report.figures import save_figures

__all__ = ["save_benchmark", "save_comparison", "save_figures"]
