"""What was found, for people to look at: an HTML page, figures for papers, and the terminal."""

from einfluence.report.page import write_report

__all__ = ["write_report"]
