"""Controls by random draws: as many samples removed at random, weights shuffled. Their intervals hold other draws, too.

Whatever queries say of a few draws, other draws would say something else; an interval over queries alone is one of
these very draws.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.metrics.resample import Estimate, Floats, student

Kind = tuple[int, str, str]  # an arm, a desideratum and a variant
Means = Callable[[npt.NDArray[np.int64]], list[Floats]]
"""From queries to the mean over them of each draw, in one array a seed."""

CONTROLS = {"removal": "random", "ignoring": "shuffled"}
"""By desideratum, how the variants begin that are controls by random draws."""


def is_control(desideratum: str, variant: str) -> bool:
    """Whether a row is of a control by random draws."""
    return desideratum in CONTROLS and variant.startswith(CONTROLS[desideratum])


def drawn_means(table: pa.Table) -> Mapping[Kind, Means]:
    """What draws did, by the row of the scorecard that they are a control of.

    Args:
        table: Of the schema :data:`einfluence.metrics.models.DRAWS`.
    """
    codes = table.select(["arm", "desideratum", "variant"]).to_pylist()
    places: dict[Kind, list[int]] = defaultdict(list)
    for place, code in enumerate(codes):
        places[code["arm"], code["desideratum"], code["variant"]].append(place)
    return {kind: _means(table.take(pa.array(some))) for kind, some in places.items()}


def _means(table: pa.Table) -> Means:
    query, value = table.column("query").to_numpy(), table.column("value").to_numpy()
    pairs = list(zip(table.column("run").to_pylist(), table.column("draw").to_pylist(), strict=True))
    each = sorted(set(pairs))
    place = {pair: number for number, pair in enumerate(each)}
    index = np.array([place[pair] for pair in pairs])

    def of(queries: npt.NDArray[np.int64]) -> list[Floats]:
        kept = np.isin(query, queries)
        with np.errstate(invalid="ignore"):
            means = np.bincount(index[kept], value[kept], len(each)) / np.bincount(index[kept], minlength=len(each))
        runs = np.array([run for run, _ in each])
        return [means[(runs == run) & np.isfinite(means)] for run in dict.fromkeys(runs.tolist())]

    return of


def with_draws(found: Estimate, means: Sequence[Floats]) -> Estimate:
    """A mean over queries and draws whose interval, over queries so far, holds other draws as well.

    Over draws it is Student's: of one seed with as many degrees of freedom as there are draws less one, of the mean
    over seeds, each of which has draws of its own, with those of Welch and Satterthwaite. The distances from the value
    to the ends are combined as those of two independent estimates (Zou and Donner 2008): the root of the sum of
    squares, side by side. What queries and draws do to each other is in both, so the interval is rather too wide than
    too narrow. A test of the value takes the draws as they are, so there is none.

    Args:
        found: The mean over queries.
        means: Of each draw over the same queries, an array a seed. One draw says nothing of others: then there are no
            ends.
    """
    if min(map(len, means), default=0) < 2:
        return replace(found, low=float("nan"), high=float("nan"), p=float("nan"))
    parts = np.array([each.var(ddof=1) / len(each) for each in means]) / len(means) ** 2
    total = float(parts.sum())
    if total == 0:
        return replace(found, p=float("nan"))
    freedom = total**2 / float((parts**2 / [len(each) - 1 for each in means]).sum())
    reach = student(freedom) * total**0.5
    low, high = (float(np.hypot(end - found.value, reach)) for end in (found.low, found.high))
    return replace(found, low=found.value - low, high=found.value + high, p=float("nan"))
