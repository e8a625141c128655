"""Does what was found stand up: solved forward, held against the data, and judged in plain words."""

from mollifier.validation.validate import Validation, validate

__all__ = ["Validation", "validate"]
