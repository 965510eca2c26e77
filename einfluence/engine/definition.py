"""The definition of every number: one probe at a time, one query at a time, nothing clever.

A copy of the base is trained on the probe's samples alone; the log-probability of each query is read before and
after. Everything fast is tested equal to this. Source: Matelsky, Ungar, Kording (2024), arXiv 2406.00509.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from peft.tuners.lora import LoraLayer

from einfluence.engine.adapters import adapted, adapted_parameter
from einfluence.engine.checkpointing import blocks_of, checkpointed
from einfluence.engine.measurement import Item, MeasuredRow, Measurement, Scores, Tuned
from einfluence.engine.schedule import Loss, Probe, Training, as_training, loss_of
from einfluence.engine.structure import private_copy, settled_model
from einfluence.errors import InputError, first_line
from einfluence.models.base import Base, Objective
from einfluence.models.four_bit import packed_parameters
from einfluence.models.weights import some
from einfluence.spec import Recipe

Copy = tuple[torch.nn.Module, Mapping[str, torch.Tensor]]
"""A copy of the base, and those of its parameters that are trained, by name."""

_seeding = threading.Lock()  # start values are drawn from the one generator that all threads share


def measure(
    base: Base,
    recipe: Recipe,
    probes: Sequence[Probe],
    queries: Sequence[Item],
    seed: int,
    *,
    kept: Mapping[int, dict[str, torch.Tensor]] | None = None,
) -> Measurement:
    """Measures every query before, and after training on each probe.

    Args:
        base: The model; it is left bit-identical.
        recipe: How to train.
        probes: N trainings, or probes whose samples are trained together.
        queries: Q samples.
        seed: Seed of the adapter's initialisation.
        kept: For the index of a probe, the ``delta`` of an earlier training, which is used instead of a new one.

    Raises:
        InputError: When the recipe does not fit the base, or the base cannot read the queries.
    """
    before = evaluate(base, recipe, queries)

    def each() -> Iterator[MeasuredRow]:
        for index, probe in enumerate(probes):
            delta = (kept or {}).get(index)
            tuned = attempt(base, recipe, probe, seed) if delta is None else Tuned(delta, [], math.nan, math.nan)
            yield MeasuredRow(index, tuned, None if tuned.failed else evaluate(base, recipe, queries, tuned.delta))

    return Measurement(before, each())


class Definition:
    """The definition, with the methods of any other engine.

    Args:
        base: The base.
        recipe: Any.
        seed: Of the adapters' start values.
    """

    max_trainings, bytes_per_training = 1, 0

    def __init__(self, base: Base, recipe: Recipe, seed: int) -> None:
        self.base, self.recipe, self.seed = base, recipe, seed

    def measure(
        self, probes: Sequence[Training[Item]], queries: Sequence[Item], kept: Mapping[int, dict[str, torch.Tensor]]
    ) -> Measurement:
        """Measures one training after the other."""
        return measure(self.base, self.recipe, probes, queries, self.seed, kept=kept)

    def train_all(self, probes: Sequence[Training[Item]]) -> list[Tuned]:
        """Takes one training after the other."""
        return [attempt(self.base, self.recipe, probe, self.seed) for probe in probes]

    def accepts(self, delta: Mapping[str, torch.Tensor]) -> bool:
        """Whether a delta holds parameters and not factors of them."""
        return not any(":" in name for name in delta)


def attempt(base: Base, recipe: Recipe, probe: Probe, seed: int, copied: Copy | None = None) -> Tuned:
    """As :func:`train`, but a probe that the model cannot be trained on fails alone, with the reason."""
    try:
        return train(base, recipe, probe, seed, copied)
    except InputError:
        raise
    except Exception as error:
        return Tuned({}, [], math.nan, math.nan, failed=first_line(error))


def train(base: Base, recipe: Recipe, probe: Probe, seed: int, copied: Copy | None = None) -> Tuned:
    """Trains a copy of the base, step by step as a training says.

    The loss of a probe's samples is the mean negative log-probability over all their target tokens. Each stage of a
    training has an optimizer that remembers nothing. A step whose items all have weight 0 is taken with a gradient
    of 0. A loss that is not finite ends the training and is reported in ``failed``. ``copied`` is a
    :func:`trainable_copy` that was made already.
    """
    training = as_training(probe, recipe.steps)
    [tuned] = watch(base, recipe, training, (len(training.steps),), seed, copied)
    return tuned


def watch(
    base: Base, recipe: Recipe, training: Training[Item], stops: Sequence[int], seed: int, copied: Copy | None = None
) -> Iterator[Tuned]:
    """As :func:`train`, and what the training has left behind after each of some numbers of its steps, ascending.

    One that fails is the last.
    """
    start = time.perf_counter()
    model, trained = copied or trainable_copy(base, recipe, seed)
    blocks = blocks_of(base, model)
    losses: list[float] = []
    grad_norm = math.nan

    def read(wanted: Loss) -> torch.Tensor:
        with checkpointed(blocks):
            return step_loss(base.objective, model, wanted)

    def left() -> Tuned:
        updates = layer_updates(base, model, recipe)
        update_norm = math.sqrt(sum(change**2 for change, _ in updates.values()))
        failed = None if math.isfinite(update_norm) else f"weights are not finite after {len(losses)} steps"
        delta = {name: parameter.detach().clone() for name, parameter in trained.items()}
        return Tuned(delta, [*losses], grad_norm, update_norm, updates, time.perf_counter() - start, failed)

    if 0 in stops:
        yield left()
    for stage in training.stages:
        optimizer = make_optimizer(recipe, list(trained.values()))
        for step in stage:
            wanted = loss_of(training, step)
            loss = read(wanted) if wanted.items else torch.zeros(())
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                seconds, failed = time.perf_counter() - start, f"loss is {losses[-1]} at step {len(losses)}"
                yield Tuned({}, losses, grad_norm, math.nan, seconds=seconds, failed=failed)
                return
            optimizer.zero_grad()
            if wanted.items:
                loss.backward()  # pyright: ignore[reportUnknownMemberType]
            else:
                batch = tuple(training.items[index] for index in step.batch)
                _give_zero(trained.values(), read(Loss(batch, (1.0,) * len(batch), 1.0)))
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), recipe.clip or math.inf).item()
            grad_norm = norm if len(losses) == 1 else grad_norm
            set_rate(recipe, optimizer, step.rate)
            optimizer.step()
            if len(losses) in stops:
                yield left()


def _give_zero(parameters: Iterable[torch.Tensor], loss: torch.Tensor) -> None:
    """Gives what a loss depends on a gradient of 0, and all else none, so that the optimizer passes it over."""
    parameters = list(parameters)
    gradients: Any = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else torch.zeros_like(parameter)


def evaluate(
    base: Base,
    recipe: Recipe,
    queries: Sequence[Item],
    delta: Mapping[str, torch.Tensor] | None = None,
    copied: Copy | None = None,
) -> Scores:
    """Scores queries one at a time, with the base as it is or with a ``delta`` from :func:`train` put in.

    ``copied`` is a :func:`trainable_copy` or :func:`plain_copy` that was made already.

    Raises:
        InputError: When the recipe does not fit the base, or the base cannot read a query.
    """
    model, trained = copied or trainable_copy(base, recipe, seed=0)
    with torch.no_grad():
        for name, value in (delta or {}).items():
            trained[name].copy_(value)
        try:
            rows = [_score(base.objective, model, query) for query in queries]
        except Exception as error:  # whatever it is, there is no number to be had of this base
            found = f"a model that cannot be run in {recipe.dtype} ({first_line(error)})"
            expected = "one that gives logits for token ids alone, or for pixels"
            raise InputError(f"base {base.info.label}", found, expected) from error
    logprob, n_tokens, rank = zip(*rows, strict=True) if rows else ((), (), ())
    return Scores(
        np.array(logprob, dtype=np.float64), np.array(n_tokens, dtype=np.int64), np.array(rank, dtype=np.int64)
    )


def trainable_copy(
    base: Base, recipe: Recipe, seed: int, model: torch.nn.Module | None = None
) -> tuple[torch.nn.Module, dict[str, torch.nn.Parameter]]:
    """Copies the base in the recipe's dtype, with dropout off and gradients for the recipe's parameters only.

    Args:
        base: The base.
        recipe: What is trained.
        seed: Of an adapter's start values.
        model: A copy that was made already.

    Raises:
        InputError: When the recipe trains no parameter of this model.
    """
    if model is None:
        model = private_copy(base.model, getattr(torch, recipe.dtype))
    model.requires_grad_(False)
    adapter = recipe.adapter
    if adapter.kind == "lora":
        with _seeding, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
            model, names = adapted(base, model, adapter)
    else:
        names = trained_names(base, recipe)
    trained = {name: parameter for name, parameter in model.named_parameters() if name in names}
    if not trained:
        raise InputError(
            f"recipe.adapter of {base.info.label}",
            f"{adapter.label}, which matches no parameter",
            "a selection of parameters",
        )
    for parameter in trained.values():
        parameter.requires_grad_(True)
    return model.eval(), trained


def plain_copy(base: Base, dtype: str) -> Copy:
    """A copy of the base that trains nothing."""
    return private_copy(base.model, getattr(torch, dtype)), {}


def trained_names(base: Base, recipe: Recipe) -> set[str]:
    """Names of the base's parameters that a recipe without LoRA trains.

    Raises:
        InputError: When the base's files hold one of them in 4 bits, as which no training leaves it.
    """
    if base.info.keep_packed:
        found = f"{recipe.adapter.label} of {base.info.label}, whose weights stay in 4 bits"
        raise InputError("recipe.adapter", found, "lora", "or leave out `keep_packed`")
    names = _selected(base, recipe)
    if packed := names & packed_parameters(base.model):
        found = f"{recipe.adapter.label} of {base.info.label}, whose weights are in 4 bits ({some(packed)})"
        fix = "or take the unquantised weights"
        raise InputError("recipe.adapter", found, "lora, or parameters that are not quantised", fix)
    return names


def make_optimizer(
    recipe: Recipe, parameters: Sequence[torch.Tensor], *, fused: bool | None = None
) -> torch.optim.Optimizer:
    """The recipe's optimizer, as torch defines it; ``fused`` is the same in one pass over memory."""
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    given: dict[str, Any] = recipe.optimizer.model_dump(exclude={"kind"})
    return kinds[recipe.optimizer.kind](parameters, fused=fused, **given)


def set_rate(recipe: Recipe, optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Lets the next step take a share of the recipe's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = recipe.optimizer.lr * rate


def step_loss(objective: Objective, model: torch.nn.Module, loss: Loss) -> Float[torch.Tensor, ""]:
    """Weighted negative log-probability of the items' target tokens, over the divisor; in nats."""
    pairs = zip(loss.items, loss.weights, strict=True)
    terms = [weight * target_logprobs(objective, model, item) for item, weight in pairs]
    return -(torch.cat(terms).sum() / loss.divisor)


def target_logprobs(objective: Objective, model: torch.nn.Module, item: Item) -> Float[torch.Tensor, " targets"]:
    """Log-probabilities of a sample's targets, in nats."""
    logits, targets = target_logits(objective, model, item)
    return logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]


def target_logits(
    objective: Objective, model: torch.nn.Module, item: Item
) -> tuple[Float[torch.Tensor, "targets classes"], Int[torch.Tensor, " targets"]]:
    """The logits that predict a sample's targets, and the targets' indices."""
    parameter = next(model.parameters())
    batch = objective.collate([item]).to(parameter.device, parameter.dtype)
    return objective.logits(model, batch)[0], batch.targets[0]


def layer_updates(base: Base, model: torch.nn.Module, recipe: Recipe) -> dict[str, tuple[float, float]]:
    """For each changed parameter of the base: Frobenius norm of its effective change, and of itself before."""
    settled = settled_model(base.model)

    def before(name: str) -> torch.Tensor:
        return attrgetter(name)(settled).detach().to(getattr(torch, recipe.dtype))

    if recipe.adapter.kind == "lora":
        changes = adapter_changes(model)
    else:
        after = model.named_parameters()
        changes = ((name, value.detach() - before(name)) for name, value in after if value.requires_grad)
    return {name: (change.norm().item(), before(name).norm().item()) for name, change in changes}


def adapter_changes(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """What trained adapters add to the parameters that they adapt, by the base's names; one after the other."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and _second(module).requires_grad:
            yield adapted_parameter(name, module), cast("Any", module).get_delta_weight("default").detach()


def _second(module: LoraLayer) -> torch.Tensor:
    """B of an adapter; beside an embedding peft calls it otherwise."""
    some: Any = module
    return some.lora_B["default"].weight if "default" in some.lora_B else some.lora_embedding_B["default"]


def _score(objective: Objective, model: torch.nn.Module, query: Item) -> tuple[float, int, int]:
    logits, targets = target_logits(objective, model, query)
    chosen = logits.gather(-1, targets[:, None])
    logprob = logits.log_softmax(-1).gather(-1, targets[:, None]).cpu().double().sum().item()
    rank = int((logits > chosen).sum(-1).max().item()) + 1
    return logprob, len(targets), rank


def _selected(base: Base, recipe: Recipe) -> set[str]:
    adapter, parameters = recipe.adapter, dict(base.model.named_parameters())
    if adapter.kind == "full":
        return set(parameters)
    if adapter.kind == "match":
        return {name for name in parameters if re.search(adapter.pattern, name)}
    head = base.objective.head(base.model)
    if head is None:
        found = f"`last` for {base.info.label}, which has no Linear layer"
        raise InputError("recipe.adapter", found, "a model with an output layer", "name parameters by `match`")
    own = {id(parameter) for parameter in head.parameters()}
    return {name for name, parameter in parameters.items() if id(parameter) in own}
