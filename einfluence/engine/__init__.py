"""Engines: what turns probes and queries into log-probabilities before and after."""

from einfluence.engine.items import ImageItem, Item, Scores, TextItem, Tuned
from einfluence.engine.serial import measure

__all__ = ["ImageItem", "Item", "Scores", "TextItem", "Tuned", "measure"]
