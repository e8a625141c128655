"""What can be said of a problem before anything is spent on it: `check`."""

from mollifier.check.findings import Check, Finding
from mollifier.check.looking import check

__all__ = ["Check", "Finding", "check"]
