"""Which of a probe's changes mattered: one layer is set back to the base, and the queries are scored again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from einfluence.engine.contract import Engine
from einfluence.engine.measurement import Item, Scores
from einfluence.engine.schedule import Training
from einfluence.engine.structure import layer_of, settled_model
from einfluence.models.base import Base

AT_ONCE = 16  # probes whose trained parameters are held


@dataclass(frozen=True)
class LayerAblation:
    """The scores of one probe's queries.

    Args:
        before: By the base.
        after: After training.
        without: By layer: after training, with this layer's change undone; None is what is outside the layers.
    """

    before: Scores
    after: Scores
    without: dict[int | None, Scores]


def changed_layers(base: Base, delta: Mapping[str, Tensor]) -> list[int | None]:
    """The layers that a delta changes, in the order of its names; None for what is outside the layers."""
    return list(dict.fromkeys(layer_of(base.model, name.partition(":")[0]) for name in delta))


def without_layer(base: Base, delta: Mapping[str, Tensor], layer: int | None) -> dict[str, Tensor]:
    """A delta with one layer's parameters as they are in the base.

    Args:
        base: The base.
        delta: Of any engine: LoRA's A and B, parameters whole, or low-rank factors.
        layer: From :func:`changed_layers`.
    """
    parameters = dict(settled_model(base.model).named_parameters())
    left = dict(delta)
    for name, value in delta.items():
        parameter, _, factor = name.replace(".lora_embedding_", ".lora_").partition(":")
        if layer_of(base.model, parameter) != layer:
            continue
        if factor == "kept":
            left[name] = torch.ones_like(value)
        elif factor in ("up", "rows") or ".lora_B." in parameter:
            left[name] = torch.zeros_like(value)
        elif not factor and ".lora_A." not in parameter:
            left[name] = parameters[parameter].detach().to(value)
    return left


def ablate_layers(
    base: Base,
    engine: Engine,
    probes: Sequence[Training[Item]],
    queries: Sequence[Sequence[Item]],
    kept: Mapping[int, dict[str, Tensor]],
) -> Iterator[tuple[int, LayerAblation | None, str | None]]:
    """Undoes each layer's change of each probe, one layer at a time.

    Args:
        base: The base.
        engine: Trains on probes, and puts queries to those whose deltas are given.
        probes: N trainings.
        queries: Of each probe.
        kept: For the index of a probe, the ``delta`` of an earlier training.

    Yields:
        For each probe in order its index, the scores of its queries, and why there are none.
    """
    for start in range(0, len(probes), AT_ONCE):
        window = range(start, min(start + AT_ONCE, len(probes)))
        fresh = [i for i in window if i not in kept]
        tuned = dict(zip(fresh, engine.train_all([probes[i] for i in fresh]), strict=True)) if fresh else {}
        for i in window:
            failed = tuned[i].failed if i in tuned else None
            delta = kept[i] if i in kept else tuned[i].delta
            yield i, None if failed else ablate(base, engine, probes[i], queries[i], delta), failed


def ablate(
    base: Base,
    engine: Engine,
    probe: Training[Item],
    queries: Sequence[Item],
    delta: dict[str, Tensor],
    only: Sequence[int | None] | None = None,
) -> LayerAblation:
    """Undoes each layer's change of one trained probe, one layer at a time.

    Args:
        base: The base.
        engine: Puts queries to probes whose deltas are given.
        probe: It.
        queries: Its queries.
        delta: What its training left behind.
        only: These layers alone; None for all.
    """
    layers = list(only or changed_layers(base, delta))
    deltas = [delta, *(without_layer(base, delta, layer) for layer in layers)]
    # Low-rank factors are put in side by side only where each probe keeps the same share of the base's weights.
    alike = all(value.item() == 1 for name, value in delta.items() if name.endswith(":kept"))
    scored: list[tuple[Scores, Scores]] = []  # before, and after with the delta of its place
    for group in [deltas] if alike else [[one] for one in deltas]:
        before, rows = engine.measure([probe] * len(group), queries, dict(enumerate(group)))
        scored += [
            (before, row.after) for row in rows if row.after is not None
        ]  # where nothing is trained nothing fails
    (before, whole), *others = scored
    return LayerAblation(before, whole, {layer: after for layer, (_, after) in zip(layers, others, strict=True)})
