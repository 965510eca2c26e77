"""Desiderata: properties that influence ought to have, computed in SQL from the store's tables."""

from einfluence.metrics.adjusting import adjusted
from einfluence.metrics.checking import check
from einfluence.metrics.comparing import compare
from einfluence.metrics.matching import matched
from einfluence.metrics.scoring import per_probe, score

__all__ = ["adjusted", "check", "compare", "matched", "per_probe", "score"]
