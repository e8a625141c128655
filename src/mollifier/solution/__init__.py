"""What was found: a solution with its estimates and its status, and its files."""

from mollifier.solution.estimate import Estimate
from mollifier.solution.solution import HISTORY, Solution, load_solution
from mollifier.solution.status import Status, StatusName

__all__ = ["HISTORY", "Estimate", "Solution", "Status", "StatusName", "load_solution"]
