"""Before a fast engine is believed: what it must refuse, and two probes held against the serial definition."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from einfluence.engine import definition
from einfluence.engine.ablation import ablate, changed_layers, without_layer
from einfluence.engine.checkpointing import blocks_of
from einfluence.engine.contract import Engine, EngineBuilder, Unsupported
from einfluence.engine.measurement import Item, Scores, TextItem, Tuned
from einfluence.engine.precise import has_float64
from einfluence.engine.schedule import Step, Training, probe_training
from einfluence.engine.structure import same_weights, whole_copy
from einfluence.engine.text.scoring import BaseScorer
from einfluence.errors import InputError, first_line
from einfluence.models.base import Base
from einfluence.spec import Recipe

# A difference may be this share of a probe's largest influence, and this share of the largest log-probability besides.
# In float32 Adam amplifies rounding: where that is too much, float64 decides.
TOLERANCE = {"float32": 1e-2, "float64": 1e-5}
ROUNDING = {"float32": 2e-6, "float64": 1e-9}
VISIBLE = 0.1  # nats; at least so much must each probe move, or the learning rate is raised for the check
STEPS = 3
LONG = 256  # tokens; a longer probe is not taken where there is a shorter one

_KNOWN: WeakKeyDictionary[nn.Module, dict[object, str]] = WeakKeyDictionary()


class FallbackWarning(UserWarning):
    """An engine was passed over for a slower one, most often for the definition."""


def warn_of_fallback(base: Base, what: str, name: str, why: str) -> None:
    """Warns, once for each base, recipe and reason, that a slower engine measures what a faster one was meant to.

    Args:
        base: The base.
        what: The recipe's label.
        name: Of the engine that measures it.
        why: What is wrong with the faster one.

    Warns:
        FallbackWarning: Naming all of them.
    """
    known = _KNOWN.setdefault(base.model, {})
    text = f"{base.info.label}, {what}: measured by the engine `{name}` instead of a faster one ({why})"
    if text not in known:
        known[text] = why
        warnings.warn(text, FallbackWarning, stacklevel=4)


def refuse(base: Base) -> None:
    """Refuses bases whose gradients or weights are not what they seem.

    Raises:
        InputError: For quantised weights, and for gradient checkpointing of a model without blocks.
    """
    model: Any = base.model
    config = getattr(model, "config", None)
    if getattr(model, "is_quantized", False) or getattr(config, "quantization_config", None) is not None:
        fix = "take the model's unquantised weights"
        raise InputError(f"base {base.info.label}", "quantised weights", "float32, float16 or bfloat16 weights", fix)
    blocks_of(base)


def definition_because(base: Base, items: Iterable[Item]) -> str:
    """Why only the definition is right for these samples; empty where any engine may be."""
    if base.info.keep_packed:
        return "weights that stay in 4 bits, which the other engines do not read"
    if "causal text" not in base.objective.can:
        return ""
    longest = max((len(cast("TextItem", item).ids) for item in items), default=0)
    switch = _switch(cast("Any", base.model).config.get_text_config())
    if switch is not None and longest > switch:
        return f"texts of more than {switch} tokens, where this model's position encoding changes with the length"
    return ""


class Trial:
    """Two different probes of a run and a few queries, on which engines are held against the serial definition.

    Args:
        base: The base. Engines are tried on a copy of it, so that one that writes into the weights is found out.
        recipe: Tried with a larger learning rate where its own moves next to nothing.
        probes: The trainings of a run that go through their samples in the same way; tried with at most three steps a
            stage.
        queries: Those of the run.
        seed: Of the adapters.
        kept: Whether earlier deltas will be read.
        ablates: Whether layers' changes will be undone.
    """

    def __init__(
        self,
        base: Base,
        recipe: Recipe,
        probes: Sequence[Training[Item]],
        queries: Sequence[Item],
        seed: int,
        *,
        kept: bool = False,
        ablates: bool = False,
    ) -> None:
        self.base, self.seed, self.kept, self.ablates, self.queries = base, seed, kept, ablates, queries
        dtype = "float64" if recipe.dtype == "float64" else "float32"
        self.recipe = recipe.model_copy(update={"dtype": dtype})
        sizes = [item.size for item in (*queries, *(item for probe in probes for item in probe.items))]
        # What holds for short texts need not for longer ones: it is tried again at every doubling.
        self.key = (recipe, seed, kept, ablates, max(sizes, default=0).bit_length(), base.info.gradient_checkpointing)
        self.ways: dict[object, list[Training[Item]]] = {}
        for probe in probes if len(queries) else ():
            weighted = any(step.weights for step in probe.steps)
            way = (probe.kind, len(probe.items) > 1, weighted, _holds_padding(base, probe.items))
            self.ways.setdefault(way, []).append(_shortened(probe))
        self._cases: dict[object, _Case] = {}

    def disagreement(self, kind: EngineBuilder) -> str:
        """Why an engine is not to be believed; empty where it is. Found out once for each way of training a probe.

        Raises:
            InputError: Where the definition refuses base or recipe.
            Unsupported: Where the engine says itself that it is not for this model.
        """
        known = _KNOWN.setdefault(self.base.model, {})
        for way in self.ways:
            key = (*self.key, kind, way)
            if key not in known:
                known[key] = self._compared(kind, way)
            if known[key]:
                return known[key]
        return ""

    def _compared(self, kind: EngineBuilder, way: object) -> str:
        if way not in self._cases:
            whole = replace(self.base, info=replace(self.base.info, gradient_checkpointing=False))  # checks it, too
            self._cases[way] = _Case.visible(whole, self.recipe, self.ways[way], self.queries, self.seed)
        case = self._cases[way]
        twin = replace(self.base, model=whole_copy(self.base.model))
        wrong = ""
        precise = has_float64(next(twin.model.parameters()).device)
        for dtype in ["float64"] if self.recipe.dtype == "float64" else ["float32", "float64"][: 1 + precise]:
            case = case if dtype == case.recipe.dtype else case.again(dtype)
            try:
                wrong = case.difference(kind(twin, case.recipe, self.seed), kept=self.kept, ablates=self.ablates)
            except Unsupported:
                raise
            except Exception as error:  # an engine may stumble over a model in any way
                wrong = first_line(error)
            if not same_weights(twin.model, self.base.model):
                return "it changes the base's weights while it runs"
            if not wrong:
                return ""
        return wrong


@dataclass
class _Case:
    """What the definition says of two probes and a few queries."""

    base: Base
    recipe: Recipe
    seed: int
    pair: list[Training[Item]]
    few: list[Item]
    before: Scores
    tuned: list[Tuned]
    after: list[Scores | None]
    evaluate: Callable[[Mapping[str, Tensor]], Scores]

    @classmethod
    def visible(
        cls, base: Base, recipe: Recipe, probes: Sequence[Training[Item]], queries: Sequence[Item], seed: int
    ) -> _Case:
        """With a learning rate at which each probe moves some query by :data:`VISIBLE`, where there is one."""
        pair = _two(probes, queries)
        few = _some(queries, pair)
        best: _Case | None = None
        lr = recipe.optimizer.lr or 1e-3
        for _ in range(8):
            case = cls.of(base, recipe.with_lr(lr), seed, pair, few)
            if case.failed:
                best = best or case
                lr /= 10 if best.failed else 3
                continue
            best = case
            if case.least >= VISIBLE:
                break
            lr *= min(max(2 * VISIBLE / max(case.least, 1e-12), 2), 1000)
        return cast("_Case", best)

    @classmethod
    def of(cls, base: Base, recipe: Recipe, seed: int, pair: list[Training[Item]], few: list[Item]) -> _Case:
        """Measures by the definition. One copy of the base serves for all: making it takes longer than the rest."""
        model, trained = definition.trainable_copy(base, recipe, seed)
        start = {name: value.detach().clone() for name, value in trained.items()}

        def evaluate(delta: Mapping[str, Tensor]) -> Scores:
            return definition.evaluate(base, recipe, few, delta, (model, trained))

        before = evaluate({})
        tuned: list[Tuned] = []
        after: list[Scores | None] = []
        for probe in pair:
            with torch.no_grad():
                for name, value in start.items():
                    trained[name].copy_(value)
            tuned.append(definition.attempt(base, recipe, probe, seed, (model, trained)))
            after.append(None if tuned[-1].failed else evaluate(tuned[-1].delta))
        return cls(base, recipe, seed, pair, few, before, tuned, after, evaluate)

    def again(self, dtype: str) -> _Case:
        """The same in another precision."""
        return self.of(self.base, self.recipe.model_copy(update={"dtype": dtype}), self.seed, self.pair, self.few)

    @property
    def failed(self) -> bool:
        """Whether a probe could not be trained."""
        return any(after is None or not np.isfinite(after.logprob).all() for after in self.after)

    @property
    def least(self) -> float:
        """What the less influential of the probes moves, in nats."""
        moved = [after.logprob - self.before.logprob for after in self.after if after is not None]
        return min(float(np.abs(each).max()) for each in moved)

    def difference(self, engine: Engine, *, kept: bool, ablates: bool) -> str:
        """Where an engine differs by more than rounding, in words; empty where it does not."""
        before, rows = engine.measure(self.pair, self.few, {})
        found = list(rows)
        off = np.abs(before.logprob - self.before.logprob).max()
        if off > 100 * self._rounding(1 + np.abs(self.before.logprob).max()):
            return f"the base's log-probabilities are off by {off:.2g} nats"
        for (_, found_tuned, after), tuned, true in zip(found, self.tuned, self.after, strict=True):
            if after is None or true is None:
                if (after is None) != (true is None):
                    return "a probe fails where it should not, or does not where it should"
                continue
            if wrong := self._moved(before, after, true) or self._trained(found_tuned, tuned):
                return wrong
        if self.failed:
            return ""
        if kept or ablates:
            _, rows = engine.measure(self.pair, self.few, {len(found) - 1: found[-1][1].delta})
            for (_, _, after), true in zip(rows, self.after, strict=True):
                if wrong := self._moved(before, after, true):
                    return f"where an earlier training is read again, {wrong}"
        return self._undone(engine) if ablates else ""

    def _undone(self, engine: Engine) -> str:
        for probe, tuned, found_tuned in zip(self.pair, self.tuned, engine.train_all(self.pair), strict=True):
            every = changed_layers(self.base, tuned.delta)
            only = list(dict.fromkeys((every[0], every[-1])))
            found = ablate(self.base, engine, probe, self.few, found_tuned.delta, only)
            for layer in only:
                true = self.evaluate(without_layer(self.base, tuned.delta, layer))
                if wrong := self._moved(found.before, found.without[layer], true):
                    place = "what is outside the layers" if layer is None else f"layer {layer}"
                    return f"where the change of {place} is undone, {wrong}"
        return ""

    def _moved(self, before: Scores, after: Any, true: Any) -> str:
        """Influence; what a query's log-probability is in itself may be rounded alike before and after."""
        wanted = true.logprob - self.before.logprob
        off, largest = np.abs(after.logprob - before.logprob - wanted).max(), np.abs(wanted).max()
        largest_logprob = np.abs(np.concatenate([true.logprob, self.before.logprob])).max()
        right = off <= TOLERANCE[self.recipe.dtype] * largest + self._rounding(largest_logprob)
        return "" if right else f"influence is off by {off:.2g} nats where the largest is {largest:.2g}"

    def _trained(self, found_tuned: Tuned, true: Tuned) -> str:
        share = 5 * TOLERANCE[self.recipe.dtype]
        found_numbers, wanted = (np.array([*one.losses, one.grad_norm, one.update_norm]) for one in (found_tuned, true))
        if len(found_numbers) != len(wanted) or not np.allclose(
            found_numbers, wanted, rtol=share, atol=self._rounding(1.0) * 10
        ):
            return "losses, gradient norm or update norm differ"
        return ""

    def _rounding(self, size: float) -> float:
        return ROUNDING[self.recipe.dtype] * size


def scorer_disagreement(base: Base, dtype: str, recipe: Recipe, items: Sequence[TextItem]) -> str:
    """Why reading many texts at once is not to be believed, from the shortest and the longest of them; else empty.

    Raises:
        InputError: Where the definition cannot read them either.
    """
    ordered = sorted(items, key=lambda item: len(item.ids))
    few = list({id(item): item for item in (*ordered[:2], *ordered[-1:])}.values())
    truth = definition.evaluate(base, recipe, few, copied=definition.plain_copy(base, dtype))
    twin = replace(base, model=whole_copy(base.model))
    try:
        found = BaseScorer(twin, dtype).score(few)
    except Exception as error:  # as for engines
        return first_line(error)
    if not same_weights(twin.model, base.model):
        return "it changes the base's weights while it runs"
    allowed = {"float64": 1e-5, "float32": 1e-3}.get(dtype, 0.5)
    off = np.abs(truth.logprob - found.logprob).max(initial=0.0)
    if off > allowed * (1 + np.abs(truth.logprob).max() / 10):
        return f"log-probabilities are off by {off:.2g} nats"
    return ""


def _shortened(training: Training[Item]) -> Training[Item]:
    """At most :data:`STEPS` steps of each stage, at least one in all; those around a weight that is not 1, if any."""
    if not training.steps:
        return probe_training(training.items, 1, sequential=training.kind == "sequential")

    def some(stage: tuple[Step, ...]) -> tuple[Step, ...]:
        weighted = [place for place, step in enumerate(stage) if set(step.weights or ()) - {1.0}]
        first = max(min(weighted[0] - 1, len(stage) - STEPS), 0) if weighted else 0
        return stage[first : first + STEPS]

    return replace(training, stages=tuple(map(some, training.stages)))


def _two(probes: Sequence[Training[Item]], queries: Sequence[Item]) -> list[Training[Item]]:
    """The shortest probe and one that differs from it, in length too where there is one; made up where there is none.

    What is in the second slot of a batch may be wrong where the first is right.
    """
    ordered = sorted(probes, key=lambda probe: _size(probe.items))
    first = ordered[0]
    others = [probe for probe in ordered if probe != first]
    longer = [probe for probe in others if _size(first.items) < _size(probe.items) <= LONG]
    if not others:
        pool = sorted(queries, key=lambda query: _size([query]))
        count = len(first.items)
        made = [tuple(itertools.islice(itertools.cycle(pool[start:]), count)) for start in range(len(pool))]
        others = [replace(first, items=one) for one in [*made, first.items[::-1]] if one != first.items]
    return [first, *(longer[-1:] or others[:1])]


def _some(queries: Sequence[Item], pair: Sequence[Training[Item]]) -> list[Item]:
    """The shortest, the longest and one between, and what the probes end with, since that moves."""
    ordered = sorted(queries, key=lambda query: _size([query]))
    last = [probe.items[probe.steps[-1].batch[-1]] for probe in pair]
    return list(dict.fromkeys([ordered[0], ordered[len(ordered) // 2], ordered[-1], *last]))


def _holds_padding(base: Base, items: Sequence[Item]) -> bool:
    """Whether a text has the padding token in it, whose embedding torch gives no gradient."""
    token = getattr(getattr(base.model, "config", None), "pad_token_id", None)
    return token is not None and any(token in getattr(item, "ids", ()) for item in items)


def _size(items: Sequence[Item]) -> int:
    return sum(item.size for item in items)


def _switch(config: Any) -> int | None:
    """The length beyond which the position encoding depends on the longest text in the batch."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    if not any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds):
        return None
    given = [kind.get("original_max_position_embeddings") for kind in kinds]
    return next((int(n) for n in given if n), getattr(config, "max_position_embeddings", None))
