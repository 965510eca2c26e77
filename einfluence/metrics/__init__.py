"""Desiderata: properties that influence ought to have, computed in SQL from the store's tables."""

from einfluence.metrics.scoring import per_probe, score

__all__ = ["per_probe", "score"]
