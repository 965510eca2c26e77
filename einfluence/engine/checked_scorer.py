"""Scores texts with a base as it is: fast, and held against the definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from einfluence.engine import definition
from einfluence.engine.check import definition_because, refuse, scorer_disagreement, warn_of_fallback
from einfluence.engine.measurement import Scores, TextItem
from einfluence.engine.select import DEFINITION, peculiar
from einfluence.engine.text.scoring import BaseScorer
from einfluence.errors import InputError, first_line
from einfluence.models.base import Base
from einfluence.spec import Full, Recipe

SHARED = "shared prefixes"


class CheckedScorer:
    """Scores texts with a base as it is, computing once what several of them begin with.

    The first texts that it is given are held against the serial definition, which reads them where the two differ.

    Args:
        base: A causal LM.
        dtype: ``float32``, ``float64`` or ``bfloat16``.

    Attributes:
        engine: What read the latest texts: ``shared prefixes`` or ``definition``.
        fallback: Why that was the definition; None where it was not.
    """

    def __init__(self, base: Base, dtype: str = "float32") -> None:
        refuse(base)
        self.engine, self.fallback = SHARED, cast("str | None", None)
        self._base, self._dtype = base, dtype
        self._plain = Recipe(adapter=Full(), dtype=cast("Any", dtype))
        self._fast: BaseScorer | None = None
        self._doubt = ""
        self._longest = 0  # tokens of what was held against the definition

    def __call__(self, items: Sequence[TextItem]) -> Scores:
        """Scores Q texts.

        Raises:
            InputError: Where the definition cannot read them either.
        """
        why = self._doubt or peculiar(self._base) or definition_because(self._base, items)
        if items and not why:
            try:
                self._doubt = self._try(items)
                if self._fast is not None and not self._doubt:
                    self.engine, self.fallback = SHARED, None
                    return self._fast.score(items)
            except InputError:
                raise
            except Exception as error:
                self._doubt = first_line(error)
            why = self._doubt
            warn_of_fallback(self._base, "reading texts", DEFINITION, why)
        self.engine, self.fallback = DEFINITION, why or None
        copied = definition.plain_copy(self._base, self._dtype)
        return definition.evaluate(self._base, self._plain, items, copied=copied)

    def _try(self, items: Sequence[TextItem]) -> str:
        """Checks the first texts, and those that are much longer than what was checked."""
        longest = max(len(item.ids) for item in items)
        if longest <= 2 * self._longest:
            return ""
        self._longest = longest
        doubt = scorer_disagreement(self._base, self._dtype, self._plain, items)
        if not doubt and self._fast is None:
            self._fast = BaseScorer(self._base, self._dtype)
        return doubt
