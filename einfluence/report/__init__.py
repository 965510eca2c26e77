"""What was found, for people to look at: an HTML page, figures for papers, and the terminal."""

from einfluence.report.compare import write_comparison
from einfluence.report.export import figures
from einfluence.report.page import write_report
from einfluence.report.terminal import show_probe, show_scorecard

__all__ = ["figures", "show_probe", "show_scorecard", "write_comparison", "write_report"]
