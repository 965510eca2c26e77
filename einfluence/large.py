"""What a run too large to try would take: arithmetic of a model's shape, on devices whose speed was measured.

FLOPs are those of products of matrices; attention and the products of a control's gradients are left out. A training
step reads T tokens through P block weights and p of adapters: T (4 P + 6 p), without gradients of the base's own
weights, and 4 V H for each target. A query takes 2 (P + p) T + 2 V H for each target. Where blocks are run again in
the backward pass, a step takes T (2 P + 2 p) more. Shards are handed out by the scheduler of a run.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field, ValidationError

from einfluence.arms import FineTune
from einfluence.errors import InputError
from einfluence.estimate import BYTES_PER_CELL
from einfluence.faults import refused
from einfluence.models.base import BaseInfo
from einfluence.recipe import Count, Float, Model, Prompting, Recipe, Tuning
from einfluence.sampling import Measure
from einfluence.shards import BLOCK, Job, Shards
from einfluence.store.store import ArmKey, CellBlock
from einfluence.yamlfile import read

if TYPE_CHECKING:
    import torch

M = TypeVar("M", bound=Model)


class Profile(Model):
    """A device, as it was measured."""

    name: str
    tflops: Float = Field(
        gt=0, description="of a large product of matrices in the recipe's precision, in 1e12 a second"
    )
    training: Float = Field(gt=0, le=1, description="the share of it that training on probes reaches")
    reading: Float = Field(gt=0, le=1, description="the share of it that reading queries reaches")
    memory: Float = Field(gt=0, description="GB")


class Sizes(Model):
    """A run by its numbers."""

    config: str = Field(description="a model's config.json; weights are not needed")
    probes: Count
    queries: Count
    tokens: Count = Field(default=32, description="of a text")
    targets: Count = Field(default=4, description="of these, tokens that are scored")
    recipe: Recipe = Recipe()
    gradient_checkpointing: bool = Field(default=False, description="whether blocks are run again in the backward pass")
    measure: Measure | None = None


@dataclass(frozen=True)
class Shape:
    """Numbers of a model: all parameters, those of matrices in its blocks, of LoRA's at rank 1, of the output layer."""

    parameters: int
    blocks: int
    sides: int
    head: int


@dataclass(frozen=True)
class Read:
    """Texts that pass through a model, each as often as it does.

    Args:
        tokens: Of all of them.
        targets: Of these, tokens that are scored.
    """

    tokens: float = 0
    targets: float = 0

    def times(self, often: float) -> Read:
        """All of them so often."""
        return Read(self.tokens * often, self.targets * often)

    def __add__(self, other: Read) -> Read:
        """Both."""
        return Read(self.tokens + other.tokens, self.targets + other.targets)


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Args:
        blocks: Trainings of each block.
        trained: Texts of all steps of all trainings.
        cells: That are measured.
        queried: Texts of all these cells.
        graded: Texts whose gradient is taken once, for estimates.
        estimated: Cells that follow from these.
    """

    blocks: Sequence[int] = ()
    trained: Read = Read()
    cells: int = 0
    queried: Read = Read()
    graded: Read = Read()
    estimated: int = 0


@dataclass(frozen=True)
class Large:
    """What a run would take.

    Args:
        training: FLOPs of all trainings.
        reading: FLOPs of reading all cells that are measured.
        control: FLOPs of the gradients of estimates; 0 where there are none.
        cells: That are measured.
        estimated: Cells that follow from them.
        device_seconds: Of all devices together.
        seconds: From the first shard to the last, as they were handed out.
        shards: How many.
        longest: Seconds of the longest.
        idle: Share of the devices' time in which they had nothing to do.
        cell_bytes: Of the store.
        base_bytes: Of the weights that each device loads.
        probe_bytes: Of one probe in training: adapter, gradient, optimizer; 0 where nothing is trained.
    """

    training: float
    reading: float
    control: float
    cells: int
    estimated: int
    device_seconds: float
    seconds: float
    shards: int
    longest: float
    idle: float
    cell_bytes: int
    base_bytes: int
    probe_bytes: int


def load_profile(path: str | Path) -> Profile:
    """Reads a device's profile (JSON).

    Raises:
        InputError: Naming file, line and key of what is missing, unknown or of the wrong type.
    """
    return _read(path, Profile)


def load_sizes(path: str | Path) -> Sizes:
    """Reads the numbers of a run (YAML); the model's config is looked for beside the file. Raises as the former."""
    found = _read(path, Sizes)
    return found.model_copy(update={"config": str(Path(path).parent / found.config)})


def _read(path: str | Path, kind: type[M]) -> M:
    document = read(Path(path), "file", "docs/large-runs.md has one")
    try:
        return kind.model_validate(document.values)
    except ValidationError as error:
        raise refused(error, document, kind) from error


def shape_of(config: str) -> Shape:
    """The shape of a causal language model, from its ``config.json`` alone: no weight is made.

    Raises:
        InputError: When there is no such file, or transformers knows no causal language model of it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(config, str(error).splitlines()[0], "the config.json of a causal language model") from error
    return shape(model, config)


def shape(model: torch.nn.Module, where: str) -> Shape:
    """The shape of a causal language model of transformers; its tensors need no values.

    Raises:
        InputError: When not every token passes all of its matrices, as in a mixture of experts.
    """
    from torch.nn import Embedding

    network: Any = model
    head, read = network.get_output_embeddings().weight, [*model.modules()]
    looked_up = {id(module.weight) for module in read if isinstance(module, Embedding)} | {id(head)}
    inside = [
        (name, value) for name, value in model.named_parameters() if value.dim() > 1 and id(value) not in looked_up
    ]
    for name, value in inside:
        if value.dim() > 2:
            found = f"{name}, a weight of {value.dim()} dimensions"
            raise InputError(
                where, found, "matrices that every token passes", "a mixture of experts cannot be foreseen"
            )
    return Shape(
        sum(value.numel() for value in model.parameters()),
        sum(value.numel() for _, value in inside),
        sum(sum(value.shape) for _, value in inside),
        head.numel(),
    )


def large(sizes: Sizes, profile: Profile, workers: int, shape: Shape) -> Large:
    """What a run would take on so many of one device.

    Args:
        sizes: The run.
        profile: The device.
        workers: How many of it.
        shape: Of the model.

    Raises:
        InputError: When the recipe does not train adapters on all layers, or the weights do not fit into the device.
    """
    adapter = sizes.recipe.adapter
    if adapter.kind == "lora" and (adapter.targets != "all-linear" or adapter.layers is not None):
        raise InputError("recipe.adapter", adapter.label, "adapters on all linear layers", "a spec may say which")
    groups = sizes.measure.groups if sizes.measure else None
    share = 1.0 if groups is None or sizes.measure is None else sizes.measure.rest
    each, text = round(share * sizes.queries), Read(sizes.tokens, sizes.targets)
    work = Work(
        [min(BLOCK, sizes.probes - start) for start in range(0, sizes.probes, BLOCK)],
        text.times(sizes.probes * sizes.recipe.steps),
        sizes.probes * each,
        text.times(sizes.probes * each),
        text.times(sizes.probes + sizes.queries if groups is not None else 0),
        sizes.probes * sizes.queries if groups is not None else 0,
    )
    low = adapter.r * shape.sides if adapter.kind == "lora" else 0
    return taken(work, sizes.recipe, shape, low, profile, workers, again=sizes.gradient_checkpointing)


def taken(
    work: Work, recipe: Tuning | Prompting, shape: Shape, low: int, profile: Profile, workers: int, *,
    again: bool = False, fixed: bool = False,
) -> Large:  # fmt: skip
    """What some work takes on so many of one device.

    Args:
        work: The work.
        recipe: How trainings are done, or prompts read.
        shape: Of the model.
        low: Parameters of its adapters.
        profile: The device.
        workers: How many of it.
        again: Whether blocks are run again in the backward pass.
        fixed: Whether each block is a shard.

    Raises:
        InputError: When the recipe trains no adapters, or the weights do not fit into the device.
    """
    if isinstance(recipe, Tuning) and recipe.adapter.kind != "lora":
        raise InputError("recipe.adapter", recipe.adapter.kind, "lora: other trainings hold a copy of what they change")
    base_bytes = {"float64": 8, "float32": 4, "bfloat16": 2}[recipe.dtype] * shape.parameters
    if base_bytes > 1e9 * profile.memory:
        found = f"weights of {base_bytes / 1e9:.0f} GB in {recipe.dtype}"
        raise InputError(profile.name, found, f"at most its memory, {profile.memory:g} GB")

    def stepped(read: Read) -> float:
        return read.tokens * (4 * shape.blocks + 6 * low) + 4 * read.targets * shape.head

    training, control = stepped(work.trained), stepped(work.graded)
    training += 2 * work.trained.tokens * (shape.blocks + low) if again else 0
    reading = 2 * work.queried.tokens * (shape.blocks + low) + 2 * work.queried.targets * shape.head
    speed, probes = 1e12 * profile.tflops, sum(work.blocks)
    own = training / (speed * profile.training) + reading / (speed * profile.reading)
    more = control / (speed * profile.training)
    values = 0 if isinstance(recipe, Prompting) else 2 if recipe.optimizer.kind == "sgd" else 4
    per_probe = (own / probes, work.cells // probes) if probes else (0.0, 0)
    seconds, shards, longest, idle = handed_out(work.blocks, *per_probe, workers, fixed=fixed)
    return Large(
        training=float(training),
        reading=float(reading),
        control=float(control),
        cells=work.cells,
        estimated=work.estimated,
        device_seconds=own + more,
        seconds=seconds + more / workers,
        shards=shards,
        longest=longest,
        idle=idle,
        cell_bytes=BYTES_PER_CELL * (work.cells + work.estimated),
        base_bytes=base_bytes,
        probe_bytes=4 * low * values,
    )


def handed_out(
    sizes: Sequence[int], a_probe: float, queries: int, workers: int, *, fixed: bool = False
) -> tuple[float, int, float, float]:
    """Hands the blocks of a run to workers, as a run would.

    Args:
        sizes: Probes of each block.
        a_probe: Seconds that each of them takes.
        queries: Of each probe.
        workers: How many.
        fixed: Whether each block is a shard.

    Returns:
        Seconds until the last is done, shards, seconds of the longest, and the share of the workers' time without work.
    """
    key, base = ArmKey("", "finetune", "", 0, ""), BaseInfo("", "", "causal_lm", "")
    names = tuple(map(str, range(queries)))
    blocks = (CellBlock(("",) * size, names) for size in sizes)
    jobs = [Job("", base, "", FineTune(), key, (block,), 0, False) for block in blocks]
    shards = Shards(jobs, workers, fixed=fixed)
    free, running = [0.0] * workers, list[tuple[float, int, Job, float]]()
    count, longest, busy, end = 0, 0.0, 0.0, 0.0
    while True:
        begin = heapq.heappop(free)
        while running and running[0][0] <= begin:  # what is done by now has told its pace
            _, _, done, took = heapq.heappop(running)
            shards.took(done, took)
        job = shards.take()
        if job is None:
            break
        took = a_probe * len(job.probe_ids)
        count, longest, busy, end = count + 1, max(longest, took), busy + took, max(end, begin + took)
        heapq.heappush(free, begin + took)
        heapq.heappush(running, (begin + took, count, job, took))
    return end, count, longest, 1 - busy / (workers * end) if end else 0.0
