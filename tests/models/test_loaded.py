"""What is loaded is what the files hold, or nothing is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import transformers

from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.models.loaded import try_text
from einfluence.objectives.causal_lm import causal, encode_text
from tests.models.folders import change_config, change_weights, save_model

SIZES = {"vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def untied(gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose output layer is its own."""
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=False)
    return save_model(tmp_path_factory.mktemp("llama"), gpt2_folder, config)


@pytest.fixture
def folder(untied: Path, tmp_path: Path) -> Path:
    return shutil.copytree(untied, tmp_path / "model")


def load(folder: Path, trusted: bool = False) -> Base:
    return load_base(find_base(str(folder), "test", trust_remote_code=trusted), trust_remote_code=trusted)


@pytest.mark.parametrize("named", ["lm_head.weight", "model.layers.1.", "model.norm.weight", "model.embed_tokens"])
def test_missing_weights_are_refused_by_name(folder: Path, named: str) -> None:
    change_weights(folder, lambda old: {name: value for name, value in old.items() if named not in name})
    with pytest.raises(InputError, match=f"{named}.*missing"):
        load(folder)


def test_weights_under_other_names_are_refused(folder: Path) -> None:
    change_weights(folder, lambda old: {f"module.{name}": value for name, value in old.items()})
    with pytest.raises(InputError, match=r"missing, while module\."):
        load(folder)


def test_a_tied_head_is_not_missing(gpt2: Base) -> None:
    assert gpt2.model.get_submodule("lm_head").weight is gpt2.model.get_submodule("transformer.wte").weight


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model.layers.2.mlp.up_proj.weight", "does not have"),
        ("model.layers.0.self_attn.q_proj.bias", "does not have"),
        ("model.layers.0.self_attn.q_norm.weight", "does not have"),
        ("model.layers.0.attn.bias", "does not have"),
        ("embed_tokens.weight", "two tensors for the same place"),
    ],
)
def test_weights_that_the_model_would_drop_are_refused(folder: Path, name: str, says: str) -> None:
    shape = (24, 16) if "embed" in name else (16,)
    change_weights(folder, lambda old: {**old, name: torch.ones(shape)})
    with pytest.raises(InputError, match=says):
        load(folder)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vision_tower.layers.0.weight", (4, 4)),
        ("model.visual.patch.weight", (4,)),
        ("v_head.summary.weight", (1, 16)),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", (4,)),
        ("model.layers.0.attn.bias", (1, 1, 8, 8)),
        ("mtp.layers.0.weight", (3,)),
    ],
)
def test_weights_that_no_text_passes_are_left_aside(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    change_weights(folder, lambda old: {**old, name: torch.ones(shape)})
    load(folder)


def test_weights_of_another_shape_are_refused_by_name(folder: Path) -> None:
    change_config(folder, intermediate_size=48)
    with pytest.raises(InputError, match=r"model.layers.0.mlp.down_proj.weight \(16, 32\) instead of \(16, 48\)"):
        load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    change_weights(folder, lambda old: {**old, name: old[name].index_fill(0, torch.tensor([3]), value)})
    with pytest.raises(InputError, match=f"NaN or infinite: {name}"):
        load(folder)


def test_a_configuration_of_a_billion_blocks_is_refused_at_once(folder: Path) -> None:
    change_config(folder, num_hidden_layers=10**9)
    with pytest.raises(InputError, match="num_hidden_layers"):
        load(folder)


def test_a_configuration_of_a_far_larger_model_is_refused_before_memory_is_taken(folder: Path) -> None:
    change_config(folder, vocab_size=10**9)
    with pytest.raises(InputError, match=r"32,.* parameters \(lm_head.weight, model.embed_tokens.weight\)"):
        load(folder)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Gemma"])
def test_an_empty_tokenizer_is_refused(gpt2_folder: Path, tmp_path: Path, kind: str) -> None:
    config = getattr(transformers, f"{kind}Config")(**SIZES, num_key_value_heads=2, head_dim=8)
    save_model(tmp_path, gpt2_folder, config)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InputError, match="tokenizer"):
        load(tmp_path)


def test_a_tokenizer_that_is_not_the_one_in_its_file_is_refused(gpt2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gpt2_folder, tmp_path / "model")
    (folder / "tokenizer_config.json").unlink()  # transformers then makes a GPT-2's of these words
    with pytest.raises(InputError, match="GPT2Tokenizer, which turns .* into other tokens") as caught:
        load(folder)
    (folder / "tokenizer_config.json").write_text("{" + caught.value.fix.split("`")[1] + "}")
    assert causal(load(folder)).tokenizer("dax is red")["input_ids"] == [10, 4, 20]


def test_a_tokenizer_that_cut_and_filled_up_texts_when_it_was_saved_does_neither(
    gpt2_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(gpt2_folder, tmp_path / "model")
    made = causal(load(folder)).tokenizer
    made.backend_tokenizer.enable_truncation(2)
    made.backend_tokenizer.enable_padding(length=8, pad_token="red", pad_id=20)
    made.backend_tokenizer.save(str(folder / "tokenizer.json"))
    item = encode_text(load(folder), "dax is", "red", "a row")
    assert item == encode_text(load(gpt2_folder), "dax is", "red", "a row")


@pytest.mark.parametrize(
    ("config", "mend"),
    [
        (transformers.BertConfig(**SIZES), {"is_decoder": True}),
        (transformers.XLNetConfig(vocab_size=24, d_model=16, n_layer=2, n_head=2, d_inner=32), {"attn_type": "uni"}),
        (transformers.XLMConfig(vocab_size=24, emb_dim=16, n_layers=2, n_heads=2), {"causal": True}),
    ],
    ids=["bert", "xlnet", "xlm"],
)
def test_a_model_that_reads_ahead_is_refused_until_told_not_to(
    gpt2_folder: Path, tmp_path: Path, config: transformers.PreTrainedConfig, mend: dict[str, object]
) -> None:
    save_model(tmp_path, gpt2_folder, config)
    with pytest.raises(InputError, match="reads ahead") as caught:
        load(tmp_path)
    assert next(iter(mend)) in caught.value.fix
    change_config(tmp_path, **mend)
    load(tmp_path)


def test_a_model_of_another_kind_is_refused_by_name(gpt2_folder: Path, tmp_path: Path) -> None:
    sizes = {**SIZES, "image_size": 16, "patch_size": 8}
    sizes.pop("vocab_size")
    save_model(tmp_path, gpt2_folder, transformers.CLIPVisionConfig(**sizes), transformers.CLIPVisionModel)
    with pytest.raises(InputError, match="CLIPVisionModel, which transformers does not take for a language model"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        (transformers.OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=40), 40),
        (transformers.RobertaConfig(**SIZES, max_position_embeddings=40, is_decoder=True), 38),
        (transformers.MptConfig(vocab_size=24, d_model=16, n_heads=2, n_layers=2, max_seq_len=50), 50),
        (transformers.BloomConfig(vocab_size=24, hidden_size=16, n_layer=2, n_head=2), None),
        (transformers.MambaConfig(vocab_size=24, hidden_size=16, num_hidden_layers=2), None),
        (transformers.XLNetConfig(vocab_size=24, d_model=16, n_layer=2, n_head=2, d_inner=32, attn_type="uni"), None),
    ],
    ids=["opt", "roberta", "mpt", "bloom", "mamba", "xlnet"],
)
def test_the_longest_text_is_what_the_model_has_positions_for(
    gpt2_folder: Path, tmp_path: Path, config: transformers.PreTrainedConfig, length: int | None
) -> None:
    base = load(save_model(tmp_path, gpt2_folder, config))
    assert causal(base).max_length == length
    ids = torch.ones((1, length or 300), dtype=torch.long)
    assert base.model(input_ids=ids, use_cache=False).logits.shape[1] == ids.shape[1]


def test_the_context_of_a_text_model_inside_another_is_found(gpt2_folder: Path, tmp_path: Path) -> None:
    text = {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 48}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config=text,
        vision_config={**vision, "image_size": 16, "patch_size": 8},
        mm_tokens_per_image=4,
        image_token_index=5,
    )
    save_model(tmp_path, gpt2_folder, config, transformers.Gemma3ForConditionalGeneration)
    assert causal(load(tmp_path)).max_length == 48


def test_a_model_that_rescales_itself_once_is_loaded_as_it_stays(gpt2_folder: Path, tmp_path: Path) -> None:
    sizes = {**SIZES, "attention_hidden_size": 16, "rescale_every": 1, "context_length": 64}
    sizes.pop("num_attention_heads")
    base = load(save_model(tmp_path, gpt2_folder, transformers.RwkvConfig(**sizes)))
    before = {name: value.clone() for name, value in base.model.named_parameters()}
    base.model(input_ids=torch.tensor([[1, 2, 3]]))
    assert all(torch.equal(before[name], value) for name, value in base.model.named_parameters())


class Restless(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module, change: str) -> None:
        super().__init__()
        self.inner, self.change, self.config = inner, change, inner.config
        self.scale = torch.nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, **given: object) -> object:
        out = self.inner(**given)
        if self.change == "weights":
            self.scale.mul_(0.5)
        if self.change == "noise":
            out.logits = out.logits + torch.rand_like(out.logits)
        return out


@pytest.mark.parametrize(("change", "says"), [("weights", "weights change"), ("noise", "draws at random")])
def test_a_model_that_never_rests_is_refused(gpt2: Base, change: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        try_text(Restless(gpt2.model, change), "test")


CODE = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("scale", torch.arange(1.0, 1.0 + config.vocab_size), persistent=False)

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = out.logits * self.scale
        return out
"""


def test_code_of_its_own_is_run_when_trusted_and_its_constants_are_not_what_lay_in_memory(folder: Path) -> None:
    (folder / "modeling_own.py").write_text(CODE)
    names = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    change_config(folder, model_type="own-llama", architectures=["OwnModel"], auto_map=names)
    with pytest.raises(InputError, match="`trust_remote_code: true`"):
        load(folder)
    model = load(folder, trusted=True).model
    assert torch.equal(model.get_buffer("scale"), torch.arange(1.0, 25.0))


def test_a_base_whose_texts_begin_otherwise_loads_from_the_same_files(folder: Path) -> None:
    info = find_base(str(folder), "test")
    assert load_base(info.beginning("always")).info.base_id != load_base(info).info.base_id


def test_files_that_change_between_finding_and_loading_are_refused(folder: Path) -> None:
    info = find_base(str(folder), "test")
    change_weights(folder, lambda old: {**old, "model.norm.weight": old["model.norm.weight"] + 1})
    with pytest.raises(InputError, match="changed since they were found"):
        load_base(info)


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([["Flatten", {}], ["Linear", {"in_features": 64, "out_features": 9}]], "logits of the 10 `classes`"),
        ([["Linear", {"in_features": 64, "out_features": 9}], ["Flatten", {}]], "layers that fail on a picture"),
        ([["Flatten", {}], ["Linear", {"in_features": -1, "out_features": 9}]], "arguments of torch.nn.Linear"),
        ([["Flatten", {}], ["Linear", {"in_features": 10**18, "out_features": 10**9}]], "Linear"),
    ],
)
def test_layers_that_make_no_classifier_are_refused(tmp_path: Path, layers: list[object], says: str) -> None:
    import json

    from safetensors.torch import save_file

    config = {"modality": "image", "input_shape": [1, 8, 8], "classes": 10, "layers": layers}
    (tmp_path / "config.json").write_text(json.dumps(config))
    index = next(i for i, (kind, _) in enumerate(layers) if kind == "Linear")  # pyright: ignore
    save_file({f"{index}.weight": torch.ones(9, 64), f"{index}.bias": torch.ones(9)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=says):
        load(tmp_path)
