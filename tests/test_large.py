"""Runs too large to try: arithmetic by hand, what was measured on a device, and shards on devices that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from einfluence.errors import InputError
from einfluence.large import Profile, Shape, Sizes, handed_out, large, load_profile, load_sizes, shape_of
from einfluence.shards import BLOCK
from flows.cli import app

HERE = Path(__file__).parent.parent / "benchmarks" / "large"
SHAPE = Shape(parameters=1000, blocks=600, sides=50, head=200)
DEVICE = Profile(name="fake", tflops=1e-9, training=0.5, reading=0.5, memory=1)


def sizes(**more: object) -> Sizes:
    recipe = {"adapter": {"kind": "lora", "r": 2}, "optimizer": "sgd", "steps": 3}
    return Sizes.model_validate(
        {"config": "", "probes": 256, "queries": 40, "tokens": 10, "targets": 2, "recipe": recipe} | more
    )


def test_flops_are_those_of_the_products_of_matrices() -> None:
    found = large(sizes(), DEVICE, 1, SHAPE)
    assert found.training == 256 * 3 * (10 * (4 * 600 + 6 * 100) + 4 * 2 * 200)
    assert found.reading == 256 * 40 * (2 * 10 * (600 + 100) + 2 * 2 * 200)
    assert found.cells == 256 * 40 and found.estimated == found.control == 0
    assert found.device_seconds == pytest.approx((found.training + found.reading) / (1e3 * 0.5))
    assert found.seconds == pytest.approx(found.device_seconds) and found.idle == pytest.approx(0)
    assert found.base_bytes == 4 * 1000 and found.probe_bytes == 4 * 100 * 2 and found.cell_bytes == 30 * found.cells


def test_a_fifth_of_the_cells_takes_a_fifth_of_the_reading_and_a_gradient_for_each_sample() -> None:
    whole, few = (large(sizes(**more), DEVICE, 4, SHAPE) for more in ({}, {"measure": {"rest": 0.2}}))
    assert few.reading == whole.reading / 5 and few.training == whole.training
    assert few.control == (256 + 40) * (10 * (4 * 600 + 6 * 100) + 4 * 2 * 200)
    assert few.estimated == 256 * 40 and few.seconds < whole.seconds


def test_shards_are_handed_out_until_all_are_done() -> None:
    seconds, shards, longest, idle = handed_out([BLOCK] * 10, 1.0, 8, 4)
    assert (seconds, shards, longest) == (3 * BLOCK, 10, BLOCK)  # ten blocks on four workers, one block a shard
    assert idle == pytest.approx(1 - 10 / 12)
    seconds, shards, _, idle = handed_out([BLOCK] * 1000, 0.01, 8, 4)
    assert (
        seconds >= 250 * BLOCK * 0.01 and idle < 0.1 and shards < 500
    )  # many blocks to a shard, once the pace is known
    assert handed_out([3], 1.0, 8, 2)[0] == 3.0


def test_the_shape_of_a_model_is_that_of_its_weights() -> None:
    shape = shape_of(str(HERE / "llama3-8b.json"))
    layer = 4096 * (4096 * 2 + 1024 * 2 + 14336 * 3)
    assert shape.blocks == 32 * layer and shape.head == 128256 * 4096
    assert shape.sides == 32 * (2 * 8192 + 2 * 5120 + 3 * 18432)
    assert shape.parameters == 32 * (layer + 2 * 4096) + 2 * shape.head + 4096


def test_the_profile_gives_back_what_was_measured_on_the_device() -> None:
    """Llama-3 8B on an H200: 67.7 ms a probe for training, 151 ms for 128 queries (benchmarks/RESULTS.md)."""
    run = load_sizes(HERE / "sizes.yaml").model_copy(update={"probes": 17, "queries": 128})
    found = large(run, load_profile(HERE / "h200.json"), 1, shape_of(run.config))
    assert found.device_seconds / 17 == pytest.approx(0.0677 + 0.151, rel=0.05)


def test_the_command_prints_hours_flops_and_bytes(tmp_path: Path) -> None:
    arguments = [
        "plan",
        "--sizes",
        str(HERE / "sizes.yaml"),
        "--device-profile",
        str(HERE / "h200.json"),
        "--workers",
        "64",
    ]
    said = CliRunner().invoke(app, arguments).output
    assert "1,000,000,000 cells measured" in said and "on 64 of them" in said and "GB of disk" in said


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("h200.json", {"reading": 1.5}, "less than or equal to 1"),
        ("h200.json", {"speed": 1}, "the unknown key `speed`"),
        ("sizes.yaml", {"probes": 0}, "greater than or equal to 1"),
    ],
)
def test_files_that_say_something_else_are_refused(
    tmp_path: Path, file: str, change: dict[str, object], expected: str
) -> None:
    values = {"h200.json": load_profile(HERE / "h200.json"), "sizes.yaml": sizes()}[file].model_dump(mode="json")
    (tmp_path / file).write_text(json.dumps(values | change))
    with pytest.raises(InputError, match=expected):
        (load_profile if file == "h200.json" else load_sizes)(tmp_path / file)


def test_what_cannot_be_planned_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at most its memory"):
        large(sizes(), DEVICE.model_copy(update={"memory": 1e-7}), 1, SHAPE)
    with pytest.raises(InputError, match="lora"):
        large(sizes(recipe={"adapter": "full", "optimizer": "sgd", "steps": 1}), DEVICE, 1, SHAPE)
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(InputError, match="causal language model"):
        shape_of(str(tmp_path / "config.json"))
