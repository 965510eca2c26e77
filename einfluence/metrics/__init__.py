"""Desiderata: properties that influence ought to have, computed in SQL from the store's tables."""

from einfluence.metrics.checking import check
from einfluence.metrics.comparing import compare
from einfluence.metrics.models import clusters
from einfluence.metrics.resample import estimate
from einfluence.metrics.scoring import matched, per_probe, score, scored

__all__ = ["check", "clusters", "compare", "estimate", "matched", "per_probe", "score", "scored"]
