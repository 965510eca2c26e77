"""What a training made of a base, read by transformers and peft themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from einfluence.bases.load import find_base, load_base
from einfluence.engine import definition
from einfluence.engine.trained import trained_base
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.samples import Sample
from einfluence.saved import save_adapter, save_base
from einfluence.spec import Recipe

SAMPLES = [Sample("a", "dax is a", "bird"), Sample("b", "wug has", "gold wings"), Sample("c", "blick has", "gold")]


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: Path) -> Path:
    """A random Llama with the same tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    for file in gpt2_folder.glob("tokenizer*"):
        shutil.copyfile(file, folder / file.name)
    torch.manual_seed(1)
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": 0, "eos_token_id": 0}
    LlamaForCausalLM(LlamaConfig(vocab_size=23, **shape, **heads)).save_pretrained(folder)
    return folder


@pytest.fixture(params=["gpt2_folder", "llama_folder"])
def base(request: pytest.FixtureRequest) -> Base:
    return load_base(find_base(str(request.getfixturevalue(request.param)), "base"))


def trained(base: Base, **given: Any) -> tuple[Recipe, dict[str, torch.Tensor], np.ndarray]:
    """A recipe, what it leaves behind, and what the definition then says of the samples."""
    recipe = Recipe.model_validate({"lr": 0.01, "steps": 4, **given})
    items = [encode(base, sample) for sample in SAMPLES]
    delta = definition.train(base, recipe, items[:2], 0).delta
    after = definition.evaluate(base, recipe, items, delta).logprob
    assert np.abs(after - definition.evaluate(base, recipe, items).logprob).max() > 0.01
    return recipe, delta, after


def nats(model: Any, tokenizer: Any) -> list[float]:
    """Log-probabilities of the targets, by transformers alone."""
    found: list[float] = []
    for sample in SAMPLES:
        prompt, whole = (
            tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (sample.prompt, f"{sample.prompt} {sample.target}")
        )
        with torch.no_grad():
            rows = model(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(-1)
        found.append(sum(rows[place - 1, whole[place]].item() for place in range(len(prompt), len(whole))))
    return found


def plain(folder: str | Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("targets", ["all-linear", ["lm_head"]])
def test_peft_loads_an_adapter_that_says_the_same(base: Base, targets: Any, tmp_path: Path) -> None:
    recipe, delta, after = trained(base, adapter={"kind": "lora", "r": 2, "targets": targets})
    save_adapter(base, recipe, delta, tmp_path / "adapter")
    assert sorted(path.suffix for path in (tmp_path / "adapter").iterdir()) == [".json", ".md", ".safetensors"]
    model, tokenizer = plain(base.info.folder)
    loaded = PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
    np.testing.assert_allclose(nats(loaded, tokenizer), after, atol=1e-5)
    assert loaded.peft_config["default"].base_model_name_or_path == base.info.folder


@pytest.mark.parametrize(
    "adapter", ["full", {"kind": "lora", "r": 2}, {"kind": "lora", "r": 2, "targets": ["lm_head"]}]
)
def test_transformers_and_the_library_load_weights_that_say_the_same(base: Base, adapter: Any, tmp_path: Path) -> None:
    recipe, delta, after = trained(base, adapter=adapter)
    save_base(base, trained_base(base, recipe, delta, "id", "label"), tmp_path / "whole")
    np.testing.assert_allclose(nats(*plain(tmp_path / "whole")), after, atol=1e-5)
    again = load_base(find_base(str(tmp_path / "whole"), "base"))
    items = [encode(again, sample) for sample in SAMPLES]
    found = definition.evaluate(again, Recipe.model_validate({"adapter": "full"}), items).logprob
    np.testing.assert_allclose(found, after, atol=1e-5)


def test_a_network_given_by_its_layers_is_saved_as_one(digits_base: Base, tmp_path: Path) -> None:
    recipe = Recipe.model_validate({"adapter": "last", "lr": 0.1, "steps": 2})
    pixels = np.random.default_rng(0).random((3, 1, 8, 8)).astype(np.float32)
    items = [encode(digits_base, Sample(str(i), "", str(i), pixels=own, label=i)) for i, own in enumerate(pixels)]
    delta = definition.train(digits_base, recipe, items, 0).delta
    save_base(digits_base, trained_base(digits_base, recipe, delta, "id", "label"), tmp_path / "whole")
    again = load_base(find_base(str(tmp_path / "whole"), "base"))
    wanted = definition.evaluate(digits_base, recipe, items, delta).logprob
    np.testing.assert_array_equal(definition.evaluate(again, recipe, items).logprob, wanted)


def test_a_model_that_changes_itself_is_not_saved(gpt2: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("einfluence.saved.changes_itself", lambda model: True)
    with pytest.raises(InputError, match="GPT2LMHeadModel, which changes its weights when it is first run"):
        save_base(gpt2, gpt2, tmp_path / "whole")
