"""A spec on devices of a profile: held against torch's own count of FLOPs, sums by hand, and a plan of sizes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoTokenizer, GPT2LMHeadModel, MixtralConfig
from typer.testing import CliRunner

import einfluence
from einfluence.errors import InputError
from einfluence.estimate import curated, of_actions, scratch_store
from einfluence.large import Profile, Sizes, large, shape_of
from einfluence.profiled import Foreseen, foresee
from einfluence.session import Session
from einfluence.spec import load_spec
from einfluence.store.store import Store
from flows.cli import app
from tests.flows.test_runners import write_spec
from tests.test_large import HERE

DEVICE = Profile(name="fake", tflops=1e-3, training=0.5, reading=0.25, memory=1)
LORA = {"recipe": {"adapter": {"kind": "lora", "r": 2}, "optimizer": "sgd", "lr": 0.01, "steps": 3}}


def rows(spec: Path, workers: int = 1) -> list[Foreseen]:
    return foresee(load_spec(spec), Store(spec.parent / "store"), DEVICE, workers)


def texts(spec: Path, base: Path) -> list[list[int]]:
    """Token ids of all samples, as words and the token that begins them."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    samples = map(json.loads, (spec.parent / "samples.jsonl").read_text().splitlines())
    return [tokenizer.encode(f"{row['prompt']} {row['target']}") for row in samples]


def products(base: Path, ids: list[int], *, trains: bool, again: bool = False, low: bool = True) -> int:
    """FLOPs of the products of matrices in one step, or one reading, of a loop over peft's model; attention's aside."""
    model: Any = GPT2LMHeadModel.from_pretrained(base)
    if low:
        about = LoraConfig(r=2, target_modules=["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True)
        inject_adapter_in_model(about, model)
    for block in model.transformer.h if again else ():
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    whole = set_checkpoint_early_stop(False)  # else the last product of a block is not done again
    with whole, FlopCounterMode(display=False) as counter, torch.set_grad_enabled(trains):
        hidden = model.transformer(torch.tensor([ids])).last_hidden_state
        loss = model.lm_head(hidden[0, -2:-1]).log_softmax(-1)[0, ids[-1]]
        if trains:
            loss.backward()
    found = counter.get_flop_counts()["Global"]
    return sum(found.get(op, 0) for op in (torch.ops.aten.mm, torch.ops.aten.addmm))


@pytest.mark.parametrize("again", [False, True])
def test_flops_are_those_that_torch_counts_in_a_loop(tmp_path: Path, gpt2_folder: Path, again: bool) -> None:
    spec = write_spec(tmp_path, gpt2_folder, 12, arms=[LORA], gradient_checkpointing=again)
    [row] = rows(spec)
    each = texts(spec, gpt2_folder)
    assert row.taken and {len(ids) for ids in each} == {5, 6}
    # No gradient passes the first matrix, which reads the embeddings, nor its adapter; the spec's count has it.
    steps = [products(gpt2_folder, ids, trains=True, again=again) + 2 * len(ids) * (16 * 48 + 2 * 16) for ids in each]
    assert row.taken.training == 3 * sum(steps)
    assert row.taken.reading == 12 * sum(products(gpt2_folder, ids, trains=False) for ids in each)
    assert (row.taken.control, row.taken.cells) == (0, 144)


def test_prompts_take_what_torch_counts_of_each_query_behind_each_probe(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = write_spec(tmp_path, gpt2_folder, 3, arms=[{"estimator": "in_context"}])
    with (tmp_path / "samples.jsonl").open("a") as samples:  # before itself it is too long for a context of 24
        samples.write(json.dumps({"id": "long", "prompt": "dax " * 16, "target": "bird"}) + "\n")
    [row] = rows(spec)
    each = texts(spec, gpt2_folder)
    pairs = [probe + query for probe in each[:3] for query in each]
    assert row.taken and row.taken.reading == sum(products(gpt2_folder, ids, trains=False, low=False) for ids in pairs)
    assert (row.taken.training, row.taken.control, row.taken.cells, row.taken.probe_bytes) == (0, 0, 16, 0)
    assert row.counted and "what texts begin with alike is read once" in row.note
    done = einfluence.measure(spec, tmp_path / "store", report=False)
    assert (done.computed, done.failed) == (12, 1)


@pytest.mark.parametrize("measure", [None, {"rest": 0.5}])
def test_a_spec_of_some_sizes_takes_what_these_take(
    tmp_path: Path, gpt2_folder: Path, measure: dict[str, float] | None
) -> None:
    spec = write_spec(tmp_path, gpt2_folder, 64, arms=[LORA], shard=None, **({"measure": measure} if measure else {}))
    drawn = load_spec(spec).parts[0].measure
    found = [row.taken for row in rows(spec, 3) if row.taken]
    own, tokens = found[0], sum(map(len, texts(spec, gpt2_folder))) / 64
    numbers = {"config": str(gpt2_folder / "config.json"), "probes": 64, "queries": 64, "tokens": 1, "targets": 1}
    sizes = Sizes.model_validate(numbers | LORA).model_copy(update={"tokens": tokens, "measure": drawn})
    whole = large(sizes, DEVICE, 3, shape_of(sizes.config))
    assert own.training == pytest.approx(whole.training) and sum(one.control for one in found) == pytest.approx(
        whole.control
    )
    assert (own.shards, own.base_bytes, own.probe_bytes) == (whole.shards, whole.base_bytes, whole.probe_bytes)
    if measure is None:
        assert own.reading == pytest.approx(whole.reading) and own.cells == whole.cells == 4096
        assert own.seconds == pytest.approx(whole.seconds) and own.idle == pytest.approx(whole.idle)
    else:  # each probe has queries of its own, and about half of them
        assert sum(one.estimated for one in found) == whole.estimated == 4096
        assert own.cells == pytest.approx(whole.cells, rel=0.1)
        assert own.reading == pytest.approx(whole.reading * own.cells / whole.cells, rel=0.02)


def test_trainings_of_a_set_are_counted_sample_by_sample(tmp_path: Path, gpt2_folder: Path) -> None:
    recipe = {key: value for key, value in LORA["recipe"].items() if key != "steps"}
    arms = [{"estimator": "leave_one_out", "recipe": recipe}, {"estimator": "grad_dot"}]
    schedule = {"epochs": 2, "batch_size": 5, "watch": 3}  # after the first of two epochs
    spec = write_spec(tmp_path, gpt2_folder, 12, arms=arms, training_set=schedule)
    compared, estimated, trained = rows(spec)
    lengths = list(map(len, texts(spec, gpt2_folder)))
    shape = shape_of(str(gpt2_folder / "config.json"))

    def epoch(left: int) -> int:
        return (sum(lengths) - left) * (4 * shape.blocks + 6 * 2 * shape.sides) + 4 * (12 - bool(left)) * shape.head

    assert trained.taken and trained.taken.training == epoch(0) + 2 * sum(map(epoch, (0, *lengths)))
    assert trained.missing == trained.taken.cells
    assert compared.taken is estimated.taken is None and compared.counted and not estimated.counted


def test_trainings_of_actions_are_counted_and_what_they_learn_is_named(tmp_path: Path, gpt2_folder: Path) -> None:
    recipe = {key: value for key, value in LORA["recipe"].items() if key != "steps"}
    arms = [{"estimator": "leave_one_out", "recipe": recipe}]
    held = ({"id": f"h{at}", "prompt": "wug " * at + "has", "target": "gold"} for at in range(5))
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    (tmp_path / "forget.txt").write_text("s0\n")
    schedule = {"epochs": 2, "batch_size": 5, "held_out": "held.jsonl"}
    removal = {"by": "leave_one_out", "order": "lowest", "shares": 0.25, "draws": 2}
    forgetting = {"samples": "forget.txt", "method": "influence_step"}
    actions = [{"remove": removal}, {"unlearn": forgetting}]
    spec = write_spec(tmp_path, gpt2_folder, 12, arms=arms, training_set=schedule, actions=actions[:1])
    lengths, shape = list(map(len, texts(spec, gpt2_folder))), shape_of(str(gpt2_folder / "config.json"))
    *_, acted = rows(spec)
    loaded, session = load_spec(spec), Session()
    with scratch_store() as scratch:
        item, _, home = curated(loaded, loaded.parts[0], scratch, scratch, session)
        [wanted] = of_actions(loaded, item, home, scratch, done=False)
    trained = [variant for block in wanted.blocks for variant in block.variants]
    assert sorted(len(variant.left_out) for variant in trained) == [3, 3, 3]  # the lowest, and two drawn
    read = [[length for at, length in enumerate(lengths) if at not in each.left_out] for each in trained]
    flops = sum(sum(own) * (4 * shape.blocks + 6 * 2 * shape.sides) + 4 * len(own) * shape.head for own in read)
    assert acted.taken and acted.taken.training == 2 * flops and acted.missing == acted.taken.cells == 3 * 17
    assert acted.counted and "which of them are the same follows from cells" in acted.note
    write_spec(tmp_path, gpt2_folder, 12, arms=arms, training_set=schedule, actions=actions[1:])
    learned, acted = rows(spec)[-2:]
    assert not learned.counted and learned.note == "1 of 1 states to learn: no count of FLOPs"
    assert acted.taken and learned.arm.startswith("learning (unlearn)") and acted.arm.startswith("actions (unlearn)")


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ({"recipe": {"adapter": "full", "optimizer": "sgd", "steps": 1}}, "found full; expected lora"),
        ({"recipe": {"adapter": {"kind": "lora", "layers": [1]}, "steps": 1}}, "adapters in all blocks"),
        ({"recipe": {"adapter": {"kind": "lora", "targets": ["c_fc", "lm_head"]}, "steps": 1}}, "the output layer"),
        ({"estimator": "tracin", "stands_for": "finetune"}, "no count of FLOPs for tracin; without --device-profile"),
        ({"estimator": "ekfac", "stands_for": "finetune"}, "no count of FLOPs for ekfac"),
    ],
)
def test_what_is_not_counted_is_named_and_a_spec_of_nothing_else_refused(
    tmp_path: Path, gpt2_folder: Path, arm: dict[str, object], says: str
) -> None:
    [counted, named] = rows(write_spec(tmp_path, gpt2_folder, arms=[LORA, arm]))
    assert counted.taken and named.taken is None and not named.counted and says in named.note
    if "estimator" not in arm:
        with pytest.raises(InputError, match=says):
            rows(write_spec(tmp_path, gpt2_folder, arms=[arm]))


def test_adapters_on_some_modules_count_as_many_as_they_are(tmp_path: Path, gpt2_folder: Path) -> None:
    some = {"recipe": LORA["recipe"] | {"adapter": {"kind": "lora", "r": 2, "targets": ["c_fc"]}}}
    [row] = rows(write_spec(tmp_path, gpt2_folder, arms=[some]))
    assert row.taken and row.taken.probe_bytes == 2 * 2 * (16 + 64) * 4 * 2  # blocks, rank, sides, bytes, values


def test_a_mixture_of_experts_is_refused(tmp_path: Path) -> None:
    sizes = {"vocab_size": 32, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    MixtralConfig(**sizes, **heads).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="3 dimensions"):
        shape_of(str(tmp_path / "config.json"))


def test_the_command_prints_what_each_arm_takes(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = write_spec(tmp_path, gpt2_folder, arms=[LORA, {"estimator": "tracin"}])
    profile, store = ["--device-profile", str(HERE / "h200.json")], ["--store", str(tmp_path / "store")]
    said = CliRunner().invoke(app, ["plan", str(spec), *profile, "--workers", "4", *store]).output
    assert "in 3 shards, 0.8 a worker" in said and "0 s of NVIDIA H200; on 4 of them" in said
    assert "not counted: no count of FLOPs" in said and said.endswith("not counted: 1 of 2 rows\n")
    assert not (tmp_path / "store" / "parts").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--workers", "2"], "--device-profile beside it"),
        (["--sizes", str(HERE / "sizes.yaml")], "--sizes and --device-profile together"),
        (["spec.yaml", "--sizes", str(HERE / "sizes.yaml"), "--device-profile", "x.json"], "without a spec"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        CliRunner().invoke(app, ["plan", *given], catch_exceptions=False)
