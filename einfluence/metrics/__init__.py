"""Desiderata: properties that influence ought to have, computed in SQL from the store's tables."""

from einfluence.metrics.checking import check
from einfluence.metrics.comparing import compare
from einfluence.metrics.scoring import per_probe, score

__all__ = ["check", "compare", "per_probe", "score"]
