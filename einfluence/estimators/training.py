"""One block of trainings of a set: copies that go through the same batches, each with some samples left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from einfluence import engine
from einfluence.arms import OfASet
from einfluence.engine.definition import watch
from einfluence.engine.measurement import Tuned
from einfluence.engine.trained import measure_parameters, parameters
from einfluence.engine.trained import trained_base as with_parameters
from einfluence.estimators.finetune import kept_trainings
from einfluence.estimators.measure import Measured, measured
from einfluence.keys import content_hash
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.recipe import Recipe, Tuning
from einfluence.samples import Sample
from einfluence.training_set import FULL, Members, More, Schedule, Stage, Variant
from einfluence.trainings import key_of


def training_block(
    base: Base,
    recipe: Tuning,
    seed: int,
    samples: Sequence[Sample],
    schedule: Schedule,
    variants: Mapping[str, Variant],
    queries: Sequence[Sample],
    *,
    kept: Callable[[str], Path | None] = lambda _: None,
    later: Sequence[Sample] = (),
    on_probe: Callable[[], None] = lambda: None,
) -> Measured:
    """Takes V trainings of a set and scores Q queries before and after each.

    Args:
        base: The loaded base; it is left bit-identical.
        recipe: What is trained, and with which optimizer.
        seed: Of the start values and the order.
        samples: The set.
        schedule: How it is gone through.
        variants: What each training leaves out, by training_id.
        queries: The queries.
        kept: The safetensors file of an earlier training of a training_id, or None.
        later: The samples of a second stage.
        on_probe: Called after each training, for progress.

    Raises:
        InputError: When a sample does not fit the base.
    """
    trainings = trainings_of(base, samples, schedule, seed, list(variants.values()), later)
    queried = list(encode_all(base, queries))
    recipe = with_steps(recipe, schedule, len(samples), len(later))
    earlier = kept_trainings(map(kept, variants))
    whole = trainings_of(base, samples, schedule, seed, [FULL], later)[0]
    stops = {each.steps: i for i, each in enumerate(variants.values()) if each.steps and i not in earlier}
    seen = _watched(base, recipe, whole, stops, seed)
    known = earlier | {index: tuned.delta for index, tuned in seen.items()}
    before, rows = engine.measure(base, recipe, trainings, queried, seed, kept=known)
    found = engine.Measurement(before, (_as_seen(row, seen.get(row.probe)) for row in rows))
    return measured(base, list(variants), queries, found, on_probe)


def computed_block(
    base: Base,
    recipe: Tuning,
    seed: int,
    schedule: Schedule,
    n: int,
    computed: Mapping[str, Path],
    queries: Sequence[Sample],
    *,
    on_probe: Callable[[], None] = lambda: None,
) -> Measured:
    """Scores Q queries before and after parameters were computed instead of trained, by the definition.

    Args:
        base: The loaded base; it is left bit-identical.
        recipe: What the parameters are those of.
        seed: As for :func:`training_block`.
        schedule: How the set is gone through.
        n: Samples of the set; it has no second stage.
        computed: The safetensors file of the parameters, by training_id.
        queries: The queries.
        on_probe: Called after each, for progress.

    Raises:
        InputError: When a sample does not fit the base.
    """
    whole, queried = with_steps(recipe, schedule, n), list(encode_all(base, queries))
    before = engine.measure(base, whole, [], queried, seed).before
    rows = (
        measure_parameters(base, whole, delta, queried, index)
        for index, delta in kept_trainings(computed.values()).items()
    )
    return measured(base, list(computed), queries, engine.Measurement(before, rows), on_probe)


def _watched(
    base: Base, recipe: Recipe, whole: engine.Training[engine.Item], stops: Mapping[int, int], seed: int
) -> dict[int, Tuned]:
    """What one training had left behind after some of its steps, by what ``stops`` has for their number.

    It is taken by the definition, which can stop anywhere, and ends with the last of them.
    """
    if not stops:
        return {}
    each = watch(base, recipe, whole.until(max(stops)), sorted(stops), seed)
    return {stops[len(tuned.losses)]: tuned for tuned in each if not tuned.failed}


def _as_seen(row: engine.MeasuredRow, seen: Tuned | None) -> engine.MeasuredRow:
    """Losses and norms of a training that was watched, unless the engine had to take it anew."""
    if seen is None or row.tuned.losses or row.tuned.failed:
        return row
    return row._replace(tuned=replace(seen, engine=row.tuned.engine, fallback=row.tuned.fallback))


def trained(
    base: Base,
    recipe: Tuning,
    seed: int,
    samples: Sequence[Sample],
    schedule: Schedule,
    variant: Variant = FULL,
    *,
    later: Sequence[Sample] = (),
    kept: Path | None = None,
) -> dict[str, Tensor]:
    """The parameters that a training of a set leaves behind, by the names that the definition has for them.

    They are those of :func:`einfluence.engine.definition.trainable_copy`: parameters of the base, or of LoRA the
    adapters' A and B. :func:`einfluence.engine.trained.trained_copy` puts them in.

    Args:
        base: The loaded base; it is left bit-identical.
        recipe: What is trained, and with which optimizer.
        seed: Of the start values and the order.
        samples: The set.
        schedule: How it is gone through.
        variant: What the training leaves out.
        later: The samples of a second stage.
        kept: What the store kept of it (:meth:`.Store.kept_deltas`); without, it is done again.

    Raises:
        InputError: When a sample does not fit the base.
        RuntimeError: When the training fails, with the reason.
    """
    whole = with_steps(recipe, schedule, len(samples), len(later))
    if kept is not None:
        return parameters(base, whole, kept_trainings([kept])[0])
    [tuned] = engine.train(base, whole, trainings_of(base, samples, schedule, seed, [variant], later), seed)
    if tuned.failed:
        raise RuntimeError(f"the training failed: {tuned.failed}")
    return parameters(base, whole, tuned.delta)


def trained_base(
    base: Base,
    recipe: Tuning,
    seed: int,
    samples: Sequence[Sample],
    schedule: Schedule,
    variant: Variant = FULL,
    *,
    later: Sequence[Sample] = (),
    kept: Path | None = None,
) -> Base:
    """As :func:`trained`, put into a base: what it scores by the definition is what the training's queries got.

    Adapters are merged into the weights. Its ``base_id`` follows from the base and from all that the training is.
    """
    delta = trained(base, recipe, seed, samples, schedule, variant, later=later, kept=kept)
    ids, then = (tuple(sample.sample_id for sample in some) for some in (samples, later))
    members = Members(ids, {}, then)
    key = key_of(base.info.base_id, OfASet(recipe=recipe), seed)
    base_id = content_hash(("trained", vars(key), variant.training_id(members.set_id(schedule))))
    label = f"{base.info.label}, trained on {len(samples) - len(variant.left_out)} samples"
    return with_parameters(base, with_steps(recipe, schedule, len(samples), len(later)), delta, base_id, label)


def trainings_of(
    base: Base,
    samples: Sequence[Sample],
    schedule: Schedule,
    seed: int,
    variants: Sequence[Variant],
    later: Sequence[Sample] = (),
) -> list[engine.Training[engine.Item]]:
    """What copies of a base are trained on, in the same batches, each as a variant has it."""
    whole = whole_training(list(encode_all(base, samples)), schedule, seed, list(encode_all(base, later)))
    return [_varied(whole, each) for each in variants]


def _varied(whole: engine.Training[engine.Item], variant: Variant) -> engine.Training[engine.Item]:
    weighs = variant.weighs
    training = whole.weighted(weighs) if weighs else whole
    if variant.steps is not None:
        training = training.until(variant.steps)
    if not variant.more:
        return training
    return engine.Training(
        training.items, (*training.stages, tuple(_behind(whole.items, each) for each in variant.more))
    )


def _behind(items: Sequence[engine.Item], more: More) -> engine.Step:
    """A step whose loss is the sum of two means over target tokens: of the weights above 0, and of those below."""
    tokens = [items[place].n_target for place in more.batch]
    up, down = (sum(n for n, weight in zip(tokens, more.weights, strict=True) if sign * weight > 0) for sign in (1, -1))
    shares = {True: sum(tokens) / max(up, 1), False: sum(tokens) / max(down, 1)}  # a step divides by all of its tokens
    weights = tuple(weight * shares[weight > 0] for weight in more.weights)
    return engine.Step(more.batch, weights, rate=more.rate)


def with_steps(recipe: Tuning, schedule: Schedule, n: int, later: int = 0) -> Recipe:
    """The recipe as engines take it, with the number of steps of a schedule."""
    return Recipe(**dict(recipe.only(Tuning)), steps=schedule.all_steps(n, later))


def whole_training(
    items: Sequence[engine.Item], schedule: Schedule, seed: int, later: Sequence[engine.Item] = ()
) -> engine.Training[engine.Item]:
    """The training on all of a set's items, whose optimizer forgets nothing between epochs; a second stage is another.

    Args:
        items: Of the set.
        schedule: How they are gone through.
        seed: Of the order.
        later: Of the second stage, behind the set's own: the optimizer begins anew with it.
    """
    if (schedule.then is None) != (not later):
        raise ValueError(f"{len(later)} samples for the second stage of {schedule.label}")
    stages = [_steps(schedule, len(items), seed, 0)]
    stages += [] if schedule.then is None else [_steps(schedule.then, len(later), seed, len(items))]
    return engine.Training((*items, *later), tuple(stages))


def _steps(stage: Stage, n: int, seed: int, first: int) -> tuple[engine.Step, ...]:
    """Those of one stage, on n items from the first on."""
    batches = stage.batches(n, seed)
    rates = stage.rates(len(batches))
    return tuple(
        engine.Step(tuple(first + index for index in batch), rate=rate)
        for batch, rate in zip(batches, rates, strict=True)
    )
