"""The report: one HTML page that needs nothing beside itself."""

from mollifier.report.page.build import save_page

__all__ = ["save_page"]
