"""Desiderata: properties that influence ought to have, computed in SQL from the store's tables."""

from einfluence.metrics.scoring import score

__all__ = ["score"]
