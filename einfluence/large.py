"""What a run too large to try would take: arithmetic of a model's shape, on devices whose speed was measured.

FLOPs are those of products of matrices; attention and the products of a control's gradients are left out. A training
step reads T tokens through P block weights and p of adapters: T (4 P + 6 p), without gradients of the base's own
weights, and 4 V H for each target. A query takes 2 (P + p) T + 2 V H for each target. Shards are handed out by the
scheduler of a run.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from einfluence.arms import FineTune
from einfluence.errors import InputError
from einfluence.estimate import BYTES_PER_CELL
from einfluence.faults import refused
from einfluence.models.base import BaseInfo
from einfluence.recipe import Count, Float, Model, Recipe
from einfluence.sampling import Measure
from einfluence.shards import BLOCK, Job, Shards
from einfluence.store.store import ArmKey, CellBlock
from einfluence.yamlfile import read

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
    measure: Measure | None = None


@dataclass(frozen=True)
class Shape:
    """Numbers of a model: all parameters, those of matrices in its blocks, of LoRA's at rank 1, of the output layer."""

    parameters: int
    blocks: int
    sides: int
    head: int


@dataclass(frozen=True)
class Large:
    """What a run would take.

    Args:
        training: FLOPs of training on all probes.
        reading: FLOPs of reading all cells that are measured.
        control: FLOPs of the control's gradients; 0 where all cells are measured.
        cells: That are measured.
        estimated: Cells of the control.
        device_seconds: Of all devices together.
        seconds: From the first shard to the last, as they were handed out.
        shards: How many.
        longest: Seconds of the longest.
        idle: Share of the devices' time in which they had nothing to do.
        cell_bytes: Of the store.
        base_bytes: Of the weights that each device loads.
        probe_bytes: Of one probe in training: adapter, gradient, optimizer.
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
    head = model.get_output_embeddings().weight
    embedded = {id(value) for value in (head, model.get_input_embeddings().weight)}
    inside = [value for value in model.parameters() if value.dim() == 2 and id(value) not in embedded]
    return Shape(
        sum(value.numel() for value in model.parameters()),
        sum(value.numel() for value in inside),
        sum(sum(value.shape) for value in inside),
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
        InputError: When the recipe trains no adapters, or the weights do not fit into the device.
    """
    adapter = sizes.recipe.adapter
    if adapter.kind != "lora":
        raise InputError("recipe.adapter", adapter.kind, "lora: other trainings hold a copy of what they change")
    width = {"float64": 8, "float32": 4, "bfloat16": 2}[sizes.recipe.dtype]
    low, base_bytes = adapter.r * shape.sides, width * shape.parameters
    if base_bytes > 1e9 * profile.memory:
        found = f"weights of {base_bytes / 1e9:.0f} GB in {sizes.recipe.dtype}"
        raise InputError(profile.name, found, f"at most its memory, {profile.memory:g} GB")
    groups = sizes.measure.groups if sizes.measure else None
    share = 1.0 if groups is None or sizes.measure is None else sizes.measure.rest
    step = sizes.tokens * (4 * shape.blocks + 6 * low) + 4 * sizes.targets * shape.head
    query = 2 * sizes.tokens * (shape.blocks + low) + 2 * sizes.targets * shape.head
    each = round(share * sizes.queries)
    training, reading = sizes.recipe.steps * step, query * each
    speed = 1e12 * profile.tflops
    a_probe = training / (speed * profile.training) + reading / (speed * profile.reading)
    control = float(step * (sizes.probes + sizes.queries)) if groups is not None else 0.0
    more = control / (speed * profile.training) / workers
    seconds, shards, longest, idle = handed_out(sizes.probes, each, a_probe, workers)
    estimated = sizes.probes * sizes.queries if groups is not None else 0
    return Large(
        training=float(sizes.probes * training),
        reading=float(sizes.probes * reading),
        control=control,
        cells=sizes.probes * each,
        estimated=estimated,
        device_seconds=a_probe * sizes.probes + more * workers,
        seconds=seconds + more,
        shards=shards,
        longest=longest,
        idle=idle,
        cell_bytes=BYTES_PER_CELL * (sizes.probes * each + estimated),
        base_bytes=base_bytes,
        probe_bytes=4 * low * (2 if sizes.recipe.optimizer.kind == "sgd" else 4),
    )


def handed_out(probes: int, queries: int, a_probe: float, workers: int) -> tuple[float, int, float, float]:
    """Hands the blocks of a run to workers that take ``a_probe`` seconds for each probe, as a run would.

    Returns:
        Seconds until the last is done, shards, seconds of the longest, and the share of the workers' time without work.
    """
    key, base = ArmKey("", "finetune", "", 0, ""), BaseInfo("", "", "causal_lm", "")
    names = tuple(map(str, range(queries)))
    sizes = [min(BLOCK, probes - start) for start in range(0, probes, BLOCK)]
    blocks = (CellBlock(("",) * size, names) for size in sizes)
    shards = Shards([Job("", base, "", FineTune(), key, (block,), 0, False) for block in blocks], workers)
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
