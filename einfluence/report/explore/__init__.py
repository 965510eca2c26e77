"""A local page over a store that may still be growing: the report's figures, read-only SQL, downloads."""

from einfluence.report.explore.launch import explore, explore_command

__all__ = ["explore", "explore_command"]
