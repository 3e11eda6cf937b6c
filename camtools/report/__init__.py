"""The report of a run: one HTML page that holds everything, and a contact sheet beside it."""

from camtools.report.report import write_report

__all__ = ["write_report"]
