"""A base after a training: the parameters that it left behind, put into a model of their own."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from einfluence.engine.definition import Copy, adapter_changes, evaluate, layer_updates, trainable_copy, trained_names
from einfluence.engine.measurement import Item, MeasuredRow, Tuned
from einfluence.engine.select import DEFINITION
from einfluence.engine.structure import private_copy, shared_copy
from einfluence.engine.text.low_rank_weights import LowRankWeights
from einfluence.models.base import Base
from einfluence.spec import Recipe


def trained_copy(base: Base, recipe: Recipe, delta: Mapping[str, Tensor]) -> Copy:
    """A copy of the base in which what a training changed is put: adapters stay adapters, and can be trained on.

    Args:
        base: The base.
        recipe: Of the training.
        delta: From :func:`parameters`.

    Raises:
        InputError: When the recipe does not fit the base.
    """
    model, trained = trainable_copy(base, recipe, seed=0)
    with torch.no_grad():
        for name, value in delta.items():
            trained[name].copy_(value)
    return model, trained


def trained_base(base: Base, recipe: Recipe, delta: Mapping[str, Tensor], base_id: str, label: str) -> Base:
    """The base after a training, adapters merged into the weights that they adapt.

    Its weights are in the recipe's dtype, but for bfloat16, in which a sum of weight and adapter would be rounded anew:
    there they are in float32. An output layer that is tied to an embedding and adapted alone is tied no more.

    Args:
        base: The base; it is left as it is.
        recipe: Of the training.
        delta: From :func:`parameters`.
        base_id: Of the result.
        label: What a person calls it.

    Raises:
        InputError: When the recipe does not fit the base.
    """
    dtype = torch.float64 if recipe.dtype == "float64" else torch.float32
    copied, trained = trained_copy(base, recipe, delta)
    model = private_copy(base.model, dtype)
    if recipe.adapter.kind == "lora":
        _add(model, adapter_changes(copied))
    else:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in trained:
                    parameter.copy_(trained[name])
    return Base(replace(base.info, base_id=base_id, label=label), model.requires_grad_(False), base.objective)


def measure_parameters(
    base: Base, recipe: Recipe, delta: Mapping[str, Tensor], queries: Sequence[Item], index: int
) -> MeasuredRow:
    """What a base with other parameters says, by the definition, and how far they are from its own.

    Args:
        base: The base; it is left as it is.
        recipe: Of the training that they could be of.
        delta: As from :func:`parameters`.
        queries: The queries.
        index: What the row is of.

    Raises:
        InputError: When the recipe does not fit the base, or the base cannot read a query.
    """
    begun = time.perf_counter()
    copied = trained_copy(base, recipe, delta)
    updates = layer_updates(base, copied[0], recipe)
    norm = math.sqrt(sum(change**2 for change, _ in updates.values()))
    scores = evaluate(base, recipe, queries, copied=copied)
    seconds = time.perf_counter() - begun
    return MeasuredRow(index, Tuned(dict(delta), [], math.nan, norm, updates, seconds, engine=DEFINITION), scores)


def parameters(base: Base, recipe: Recipe, delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The trained parameters that a ``delta`` of any engine stands for, by the names that the definition has for them.

    Args:
        base: The base.
        recipe: Of the training.
        delta: :attr:`einfluence.engine.measurement.Tuned.delta`: parameters, or factors of what changed.
    """
    if not any(":" in name for name in delta):
        return dict(delta)
    weights = LowRankWeights(shared_copy(base.model, getattr(torch, recipe.dtype)), trained_names(base, recipe))
    return weights.whole(dict(delta))


def _add(model: nn.Module, changes: Iterable[tuple[str, Tensor]]) -> None:
    """Adds changes to the parameters of their names; what shared memory with one of them keeps its own."""
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, change in changes:
        home, _, last = name.rpartition(".")
        value = own[name].detach()
        setattr(model.get_submodule(home), last, nn.Parameter(value + change.to(value).view_as(value)))
