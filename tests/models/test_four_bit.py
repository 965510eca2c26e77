"""Bases that bitsandbytes packed into 4 bits: measured as the model that their weights stand for, or refused."""

from __future__ import annotations

import copy
import json
import shutil
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MixtralConfig

from einfluence import engine
from einfluence.bases.load import find_base, load_base
from einfluence.engine import noise
from einfluence.engine.batch_sizes import held_bytes
from einfluence.engine.definition import evaluate, trained_names
from einfluence.errors import InputError
from einfluence.inputs import part_base
from einfluence.models.base import Base
from einfluence.models.four_bit import packed_parameters, read_packed
from einfluence.models.packed_linear import PackedLinear, count_weights
from einfluence.objectives.causal_lm import TextItem
from einfluence.recipe import Recipe
from einfluence.saved import save_trained
from einfluence.spec import load_spec
from tests.models.folders import Tensors, change_config, change_weights, save_model

FOUR_BITS = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
WEIGHT = "transformer.h.0.mlp.c_fc.weight"


def float32(value: float) -> float:
    """The nearest that float32 can hold."""
    return struct.unpack("f", struct.pack("f", value))[0]


def packed_by_hand(shape: tuple[int, int], size: int, *, nested: bool) -> tuple[Tensors, list[float]]:
    """The parts of a random packed weight, and the numbers that it stands for, reckoned one by one."""
    draw = np.random.default_rng(0)
    count = shape[0] * shape[1]
    codes, values = draw.integers(0, 16, count), draw.normal(size=16).astype(np.float32)
    pairs = [*codes.tolist(), 0]
    scales = draw.random(-(-count // size)).astype(np.float32)
    parts = {"": np.array([pairs[i] << 4 | pairs[i + 1] for i in range(0, count, 2)], dtype=np.uint8)[:, None]}
    how = {"quant_type": "nf4", "blocksize": size, "dtype": "float32", "shape": list(shape)}
    if nested:
        levels, few = draw.normal(size=256).astype(np.float32), draw.random(-(-len(scales) // 4)).astype(np.float32)
        chosen = draw.integers(0, 256, len(scales)).astype(np.uint8)
        offset = float32(0.7)
        products = [float32(float(levels[code]) * float(few[i // 4])) for i, code in enumerate(chosen)]
        scales = np.array([float32(product + offset) for product in products], dtype=np.float32)
        how |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": offset}
        parts |= {".absmax": chosen, ".nested_absmax": few, ".nested_quant_map": levels}
    else:
        parts[".absmax"] = scales
    parts[".quant_map"] = values
    parts[".quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(how).encode(), dtype=np.uint8).copy()
    numbers = [float32(float(values[code]) * float(scales[i // size])) for i, code in enumerate(codes)]
    return {name: torch.from_numpy(part) for name, part in parts.items()}, numbers


@pytest.fixture
def folder(gpt2_folder: Path, tmp_path: Path) -> Path:
    """The small GPT-2 with one weight packed by hand."""
    there = shutil.copytree(gpt2_folder, tmp_path / "packed")

    def pack(old: Tensors) -> Tensors:
        turned = (old[WEIGHT].shape[1], old[WEIGHT].shape[0])
        parts, _ = packed_by_hand(turned, 64, nested=True)
        return {**{name: value for name, value in old.items() if name != WEIGHT}, **named(parts)}

    change_weights(there, pack)
    change_config(there, quantization_config=FOUR_BITS)
    return there


def named(parts: Tensors, name: str = WEIGHT) -> Tensors:
    return {f"{name}{part}": value for part, value in parts.items()}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("shape", "size"), [((4, 8), 16), ((3, 5), 4), ((7, 9), 64)])
def test_codes_are_the_numbers_that_they_stand_for(
    shape: tuple[int, int], size: int, nested: bool, tmp_path: Path
) -> None:
    parts, numbers = packed_by_hand(shape, size, nested=nested)
    save_file({**named(parts, "a.weight"), "b.weight": torch.ones(2)}, tmp_path / "model.safetensors")
    plain, packed = read_packed([tmp_path / "model.safetensors"])
    assert set(plain) == {"b.weight"} and set(packed) == {"a.weight"}
    found = packed["a.weight"].numbers()
    assert found.shape == shape and found.flatten().tolist() == numbers


def test_a_packed_base_is_the_model_that_its_weights_stand_for(folder: Path) -> None:
    base = load_base(find_base(str(folder), "test"))
    weight = base.model.get_parameter(WEIGHT).T  # GPT-2 has it the other way round
    _, numbers = packed_by_hand((weight.shape[0], weight.shape[1]), 64, nested=True)
    assert weight.flatten().tolist() == numbers
    assert packed_parameters(base.model) == {WEIGHT}
    assert base.info.packed == (WEIGHT,)


def test_what_packed_weights_are_computed_in_does_not_name_a_base(folder: Path) -> None:
    before = find_base(str(folder), "test").base_id
    change_config(folder, quantization_config={**FOUR_BITS, "bnb_4bit_compute_dtype": "bfloat16"})
    assert find_base(str(folder), "test").base_id == before
    change_weights(folder, lambda old: {**old, f"{WEIGHT}.absmax": old[f"{WEIGHT}.absmax"] ^ 1})
    assert find_base(str(folder), "test").base_id != before


@pytest.mark.parametrize(
    ("adapter", "right"),
    [
        ("full", False),
        ("last", True),
        ({"kind": "match", "pattern": r"h\.0\.mlp"}, False),
        ({"kind": "match", "pattern": "ln_|bias"}, True),
    ],
)
def test_only_what_is_not_packed_can_be_trained_itself(folder: Path, adapter: Any, right: bool) -> None:
    base = load_base(find_base(str(folder), "test"))
    recipe = Recipe.model_validate({"adapter": adapter, "steps": 1})
    if right:
        assert trained_names(base, recipe)
        return
    with pytest.raises(InputError, match=rf"recipe.adapter: found .* 4 bits \({WEIGHT}\)"):
        list(engine.measure(base, recipe, [[TextItem((1, 2, 3), 1)]], [TextItem((1, 2), 1)], 0).rows)


def test_prompts_are_read_as_the_definition_reads_them(folder: Path) -> None:
    base, items = load_base(find_base(str(folder), "test")), [TextItem((1, 2, 3), 1), TextItem((4, 5), 1)]
    scorer = engine.CheckedScorer(base)
    truth = evaluate(base, Recipe(), items).logprob
    assert scorer(items).logprob == pytest.approx(truth, rel=1e-5) and scorer.fallback is None


def test_a_training_is_saved_with_plain_weights(folder: Path, tmp_path: Path) -> None:
    base = load_base(find_base(str(folder), "test"))
    recipe = Recipe.model_validate({"adapter": {"r": 2}, "optimizer": "sgd", "lr": 0.1, "steps": 1})
    [tuned] = engine.train(base, recipe, [[TextItem((1, 2, 3), 1)]], 0)
    save_trained(base, recipe, tuned.delta, tmp_path / "trained")
    saved = load_base(find_base(str(tmp_path / "trained"), "test"))
    assert saved.info.packed == () and not packed_parameters(saved.model)
    moved = saved.model.get_parameter(WEIGHT) - base.model.get_parameter(WEIGHT)
    assert moved.norm().item() == pytest.approx(tuned.layer_updates[WEIGHT][0], rel=1e-4)


PROBES = [TextItem((1, 5, 9, 11), 2), TextItem((2, 7, 3), 1)]
QUERIES = [*PROBES, TextItem((4, 6, 8, 10, 12), 3)]


@pytest.mark.parametrize(("dtype", "within"), [("float64", 1e-12), ("float32", 2e-6), ("bfloat16", 0.2)])
def test_weights_that_stay_packed_give_the_same_numbers_by_the_definition(
    folder: Path, dtype: str, within: float
) -> None:
    info = find_base(str(folder), "test")
    recipe = Recipe.model_validate({"adapter": {"r": 2}, "optimizer": "sgd", "lr": 0.5, "steps": 2, "dtype": dtype})

    def measured(base: Base, name: str) -> tuple[np.ndarray, list[Any]]:
        before, rows = engine.measure(base, recipe, [[probe] for probe in PROBES], QUERIES, 0, engine=name)
        tuned, after = zip(*((row.tuned, row.after) for row in rows), strict=True)
        return np.array([each.logprob - before.logprob for each in after]), list(tuned)

    plain, whole = measured(load_base(info), "serial")
    kept, tuned = measured(load_base(replace(info, keep_packed=True)), "auto")
    assert np.abs(kept - plain).max() <= within < np.abs(plain).max()
    assert {each.engine for each in tuned} == {"definition"} and "4 bits" in str(tuned[0].fallback)
    assert tuned[0].layer_updates.keys() == whole[0].layer_updates.keys() >= {WEIGHT}
    if dtype != "bfloat16":
        for name, norms in whole[0].layer_updates.items():
            assert tuned[0].layer_updates[name] == pytest.approx(norms, rel=1e-3)


def test_weights_that_stay_packed_are_nowhere_kept_unpacked(folder: Path) -> None:
    base = load_base(replace(find_base(str(folder), "test"), keep_packed=True))
    layer = base.model.get_submodule(WEIGHT.removesuffix(".weight"))
    assert type(layer) is PackedLinear and [name for name, _ in layer.named_parameters()] == ["bias"]
    size = layer.in_features * layer.out_features
    held = {name: value.numel() * value.element_size() for name, value in layer.named_buffers()}
    assert held == {"codes": size // 2, "scales": size // 64 * 4, "values": 64, "like": 0}
    kept: list[tuple[int, ...]] = []
    x = torch.randn(3, layer.in_features, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(tuple(value.shape)) or value, lambda v: v):
        out = layer(x)
    out.square().sum().backward()
    assert not kept or max(map(np.prod, kept)) < size // 2
    assert torch.allclose(x.grad, 2 * out @ layer.weight)
    twin = copy.deepcopy(layer).double()
    assert twin.weight.dtype == torch.float64 and torch.equal(twin.weight.float(), layer.weight)


def test_weights_that_stay_packed_count_where_memory_and_threads_are_shared_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = find_base(str(folder), "test")
    plain, kept = load_base(info), load_base(replace(info, keep_packed=True))
    assert count_weights(kept.model) == count_weights(plain.model) == sum(p.numel() for p in plain.model.parameters())
    twin = copy.deepcopy(kept.model).double()
    for itemsize, model in ((None, kept.model), (8, twin)):
        held = [*model.parameters(), *model.buffers()]
        assert held_bytes(kept.model, itemsize) == sum(value.numel() * value.element_size() for value in held)
    parameters = sum(value.numel() for value in kept.model.parameters())
    assert held_bytes(kept.model, 8) > 8 * parameters
    monkeypatch.setenv("EINFLUENCE_MEMORY", str(4 * held_bytes(kept.model, 8)))
    assert noise._more_precise(kept, Recipe()) is not None
    monkeypatch.setenv("EINFLUENCE_MEMORY", str(4 * held_bytes(kept.model, 8) - 4))
    assert noise._more_precise(kept, Recipe()) is None


def test_weights_that_stay_packed_are_refused_where_they_would_be_trained(folder: Path) -> None:
    base = load_base(replace(find_base(str(folder), "test"), keep_packed=True))
    for adapter in ("full", "last", {"kind": "match", "pattern": "ln_"}):
        with pytest.raises(InputError, match="stay in 4 bits; expected lora"):
            trained_names(base, Recipe.model_validate({"adapter": adapter}))
    scorer = engine.CheckedScorer(base)
    plain = load_base(find_base(str(folder), "test"))
    assert scorer(QUERIES).logprob == pytest.approx(evaluate(plain, Recipe(), QUERIES).logprob, rel=1e-5)
    assert "4 bits" in str(scorer.fallback)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"arms": [{"recipe": {"adapter": "full"}}]}, "`keep_packed` beside `finetune` with LoRA"),
        ({"arms": [{}, {"estimator": "grad_dot"}]}, "`keep_packed` beside `finetune` with LoRA"),
        ({"base": "embedded:world"}, "a base that bitsandbytes packed into 4 bits"),
    ],
)
def test_what_cannot_be_measured_of_packed_weights_is_refused(
    folder: Path, tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    (tmp_path / "samples.jsonl").write_text(json.dumps({"id": "a", "prompt": "the", "target": "town"}) + "\n")
    part = {"base": str(folder), "samples": "samples.jsonl", "keep_packed": True, **more}
    (tmp_path / "spec.yaml").write_text(json.dumps(part))
    with pytest.raises(InputError, match=says):
        spec = load_spec(tmp_path / "spec.yaml")
        part_base(spec, spec.parts[0])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quantization_config": None}, "does not call them so"),
        ({"quantization_config": {**FOUR_BITS, "load_in_4bit": False, "load_in_8bit": True}}, "other than 4 bits"),
        ({"quantization_config": {**FOUR_BITS, "quant_method": "gptq"}}, "gptq"),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
    ],
)
def test_other_kinds_of_quantised_weights_are_refused(folder: Path, change: dict[str, Any], says: str) -> None:
    change_config(folder, **change)
    with pytest.raises(InputError, match=says):
        find_base(str(folder), "test")


def test_plain_weights_that_are_called_packed_are_refused(gpt2_folder: Path, tmp_path: Path) -> None:
    there = shutil.copytree(gpt2_folder, tmp_path / "plain")
    change_config(there, quantization_config=FOUR_BITS)
    with pytest.raises(InputError, match="none of which bitsandbytes packed"):
        find_base(str(there), "test")


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (".absmax", None),
        (".absmax", torch.zeros(3, dtype=torch.uint8)),
        (".nested_absmax", torch.zeros(3)),
        (".quant_map", torch.zeros(15)),
        ("", torch.zeros(8, 1, dtype=torch.uint8)),
        (".quant_state.bitsandbytes__nf4", torch.zeros(8, dtype=torch.uint8)),
    ],
)
def test_damaged_packed_weights_are_refused(folder: Path, part: str, value: torch.Tensor | None) -> None:
    name = f"{WEIGHT}{part}"
    change_weights(folder, lambda old: {key: each for key, each in {**old, name: value}.items() if each is not None})
    with pytest.raises(InputError, match="cannot be unpacked"):
        load_base(find_base(str(folder), "test"))


def test_packed_experts_are_put_together_or_refused(gpt2_folder: Path, tmp_path: Path) -> None:
    config = MixtralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    there = save_model(tmp_path / "experts", gpt2_folder, config)
    numbers: dict[str, list[float]] = {}

    def pack(old: Tensors) -> Tensors:
        new = {name: value for name, value in old.items() if ".experts." not in name}
        for name in set(old) - set(new):
            parts, numbers[name] = packed_by_hand((old[name].shape[0], old[name].shape[1]), 64, nested=False)
            new |= named(parts, name)
        return new

    change_weights(there, pack)
    change_config(there, quantization_config=FOUR_BITS)
    info = find_base(str(there), "test")
    model, experts = load_base(info).model, "model.layers.0.mlp.experts"
    assert packed_parameters(model) == {f"{experts}.gate_up_proj", f"{experts}.down_proj"}  # not the renamed router
    first = next(value for name, value in numbers.items() if "experts.0.w1" in name)
    assert model.get_parameter(f"{experts}.gate_up_proj")[0, :32].flatten().tolist() == first
    with pytest.raises(InputError, match="is not the weight of one layer"):
        load_base(replace(info, keep_packed=True))


# What follows holds the same against bitsandbytes itself.


# Where a block goes over the end of a row, bitsandbytes 0.50.2 unpacks others than it packed on a CPU: no such widths.
MODELS = {
    "nf4": LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, bos_token_id=0, eos_token_id=0,
    ),
    "fp4": GPT2Config(
        vocab_size=64, n_embd=64, n_layer=1, n_head=4, n_positions=32, bos_token_id=0, eos_token_id=0,
        attn_pdrop=0, embd_pdrop=0, resid_pdrop=0,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=["nf4", "fp4"])
def quantised(request: pytest.FixtureRequest, gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, packed and saved by bitsandbytes; and a GPT-2, its scales packed too, held as bfloat16."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    pytest.importorskip("accelerate", reason="accelerate, by which transformers loads into 4 bits, is not installed")
    from transformers import BitsAndBytesConfig

    kind, more = request.param, request.param == "fp4"
    plain = save_model(tmp_path_factory.mktemp("plain"), gpt2_folder, MODELS[kind])
    change_weights(plain, lambda old: {n: v * 4 if v.dim() == 2 else v for n, v in old.items()})
    there = tmp_path_factory.mktemp("quantised")
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=more,
        bnb_4bit_compute_dtype=torch.float32,
        **({"bnb_4bit_quant_storage": torch.bfloat16} if more else {}),
    )
    packed_model(plain, quantization_config=how).save_pretrained(there)
    for file in gpt2_folder.glob("tokenizer*"):
        shutil.copy(file, there)
    return there


def packed_model(folder: Path, **options: Any) -> Any:
    """As bitsandbytes runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map={"": "cpu"}, **options)


def test_weights_are_bit_for_bit_those_that_bitsandbytes_makes_of_them(quantised: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    base, theirs = load_base(find_base(str(quantised), "test")), packed_model(quantised)
    layers = {name: module for name, module in theirs.named_modules() if isinstance(module, Linear4bit)}
    assert {f"{name}.weight" for name in layers} == packed_parameters(base.model) and layers
    for name, module in layers.items():
        state = copy.copy(module.weight.quant_state)
        state.dtype = torch.float32
        mine: Any = base.model.get_submodule(name)
        weight = mine.weight if type(mine) is torch.nn.Linear else mine.weight.T
        assert torch.equal(dequantize_4bit(module.weight.data, state), weight)


@pytest.mark.parametrize("kept", [False, True])
def test_influence_is_that_of_a_plain_loop_over_the_packed_model(quantised: Path, kept: bool) -> None:
    base = load_base(replace(find_base(str(quantised), "test"), keep_packed=kept))
    recipe = Recipe.model_validate({"adapter": {"r": 2, "alpha": 4}, "optimizer": "sgd", "lr": 0.3, "steps": 3})
    wanted = np.array([by_hand(packed_model(quantised), probe, QUERIES) for probe in PROBES])
    before, rows = engine.measure(base, recipe, [[probe] for probe in PROBES], QUERIES, 0)
    found = [(row.tuned.engine, row.after.logprob - before.logprob) for row in rows if row.after]
    assert {name for name, _ in found} == {"definition" if kept else "batched lora"}
    # Both compute in float32, in another order: some 1e-7 of log-probabilities of a few nats.
    assert np.abs(np.array([each for _, each in found]) - wanted).max() < 1e-5 and np.abs(wanted).max() > 0.1


def by_hand(model: Any, probe: TextItem, queries: list[TextItem]) -> list[float]:
    """What peft and torch make of one probe, on a model that holds its weights in 4 bits."""

    def nats(text: TextItem) -> torch.Tensor:
        ids = torch.tensor(text.ids)
        logits = model(input_ids=ids[None]).logits[0]
        return logits[-text.n_target - 1 : -1].log_softmax(-1).gather(-1, ids[-text.n_target :, None])

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules="all-linear")).train()
    with torch.no_grad():
        before = [nats(query).sum().item() for query in queries]
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.3)
    for _ in range(3):
        optimizer.zero_grad()
        (-nats(probe).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        return [nats(query).sum().item() - old for query, old in zip(queries, before, strict=True)]
