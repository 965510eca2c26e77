"""What is in a base's name, and which folders are refused before anything is loaded."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from tests.models.folders import change_config

COMMIT = "0123456789" * 4


@pytest.fixture
def folder(gpt2_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(gpt2_folder, tmp_path / "model")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, which cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub: Path, repo: str, revision: str = "main") -> Path:
    home = hub / f"models--{repo.replace('/', '--')}"
    ref = home / "refs" / revision
    ref.parent.mkdir(parents=True)
    ref.write_text(COMMIT)
    (home / "snapshots").mkdir()
    return home / "snapshots" / COMMIT


def base_id(folder: Path, trusted: bool = False) -> str:
    return find_base(str(folder), "test", trust_remote_code=trusted).base_id


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "added_tokens.json",
        "special_tokens_map.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "tekken.json",
        "vocab.bpe", "bpe.codes", "dict.txt", "source.spm", "qwen.tiktoken", "prophetnet.tokenizer", "byte_maps.json",
        "chat_template.json", "chat_template.jinja", "additional_chat_templates/tools.jinja", "tokenizer.4.0.json",
        "a-vocabulary-of-its-own.words",
    ],
)  # fmt: skip
def test_every_file_that_a_tokenizer_may_read_names_the_base(folder: Path, name: str) -> None:
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    seen = {base_id(folder)}
    old = file.read_bytes() if file.exists() else b"{}"
    file.write_bytes(old + b" ")
    seen.add(base_id(folder))
    file.write_bytes(old + b"  ")
    seen.add(base_id(folder))
    assert len(seen) == 3


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "LICENSE", ".gitattributes", "generation_config.json", "trainer_state.json", "training_args.bin",
        "eval_results.json", "model.onnx", "optimizer.pt", "picture.png", "modeling.py", "checkpoint-5/config.json",
    ],
)  # fmt: skip
def test_files_that_nothing_reads_do_not(folder: Path, name: str) -> None:
    before = base_id(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    assert base_id(folder) == before


def test_the_way_the_configuration_is_written_does_not_count_but_what_it_says_does(folder: Path) -> None:
    before = base_id(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(config.items())), indent=7) + "\n\n")
    assert base_id(folder) == before
    change_config(folder, transformers_version="0", dtype="bfloat16", _name_or_path="elsewhere")
    assert base_id(folder) == before
    change_config(folder, layer_norm_epsilon=1e-3)
    assert base_id(folder) != before


@pytest.mark.parametrize("name", ["modeling_mine.py", "parts/attention.py"])
def test_code_that_is_trusted_names_the_base(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("SCALE = 1\n")
    before = base_id(folder), base_id(folder, trusted=True)
    (folder / name).write_text("SCALE = 2\n")
    assert base_id(folder) == before[0]
    assert base_id(folder, trusted=True) != before[1]


def test_code_of_another_repository_names_the_base_too(folder: Path, hub: Path) -> None:
    change_config(folder, auto_map={"AutoModelForCausalLM": "org/code--modeling.Model"})
    with pytest.raises(InputError, match="'org/code', while the hub cannot be reached"):
        base_id(folder, trusted=True)
    code = cached(hub, "org/code")
    code.mkdir()
    (code / "modeling.py").write_text("SCALE = 1\n")
    before = base_id(folder, trusted=True)
    (code / "modeling.py").write_text("SCALE = 2\n")
    assert base_id(folder, trusted=True) != before


@pytest.mark.parametrize("revision", ["main", "refs/pr/1", "v1.0"])
def test_a_hub_id_with_a_revision_is_found_and_is_the_same_base_as_its_folder(
    folder: Path, hub: Path, revision: str
) -> None:
    shutil.copytree(folder, cached(hub, "org/model", revision))
    found = find_base(f"org/model@{revision}", "test")
    assert (found.base_id, found.label) == (base_id(folder), f"org/model@{revision}")
    with pytest.raises(InputError, match="'org/model@other'"):
        find_base("org/model@other", "test")


@pytest.mark.parametrize(
    "name", ["@org/model", "org/model@a b", "org//model", "a" * 5000, "nul\0byte", "org/ma:in", "~no"]
)
def test_odd_names_are_refused(name: str, hub: Path) -> None:
    with pytest.raises(InputError, match="^base: found "):
        find_base(name, "base")


@pytest.mark.parametrize("value", [{"quant_method": "fp8"}, {"quant_method": "unheard-of"}, {}, "yes"])
@pytest.mark.parametrize("key", ["quantization_config", "compression_config", "quantization"])
def test_quantised_kinds_are_refused_before_weights_are_read(folder: Path, key: str, value: object) -> None:
    (folder / "model.safetensors").unlink()
    change_config(folder, **{key: value})
    with pytest.raises(InputError, match="quantised"):
        find_base(str(folder), "test")
    change_config(folder, **{key: None}, text_config={key: value})
    with pytest.raises(InputError, match="quantised"):
        find_base(str(folder), "test")
    change_config(folder, text_config=None)
    (folder / "quantize_config.json").write_text("{}")
    with pytest.raises(InputError, match="quantised"):
        find_base(str(folder), "test")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("BertForPreTraining", "reads both ways"),
        ("BertForQuestionAnswering", "marks answers"),
        ("SomeForNewTask", "another task"),
    ],
)
def test_models_for_other_tasks_are_refused_by_name(folder: Path, name: str, says: str) -> None:
    change_config(folder, architectures=[name])
    with pytest.raises(InputError, match=f"{name}, .*{says}"):
        find_base(str(folder), "test")


def test_models_that_translate_are_refused(folder: Path) -> None:
    change_config(folder, architectures=["BartModel"], is_encoder_decoder=True)
    with pytest.raises(InputError, match="encoder and decoder"):
        find_base(str(folder), "test")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"{", b"null", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900]
)
def test_a_configuration_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json"):
        load_base(find_base(str(folder), "test"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "merges.txt"])
def test_a_pointer_in_place_of_any_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        find_base(str(folder), "test")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_an_adapter_is_refused_with_the_command_that_merges_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    config = LoraConfig(r=2, target_modules=["c_fc"], init_lora_weights=False, fan_in_fan_out=True)
    get_peft_model(model, config).save_pretrained(tmp_path / "tuned")
    with pytest.raises(InputError, match=f"an adapter for {folder}") as caught:
        find_base(str(tmp_path / "tuned"), "base")
    command = shlex.split(caught.value.fix.split("`")[1])
    assert command[:2] == ["python", "-c"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", command[1:])
    exec(command[2], {"__name__": "__main__"})  # what `python -c` does
    merged = load_base(find_base("tuned-merged", "base", relative_to=tmp_path))
    assert merged.info.base_id != base_id(folder)
    shutil.copy(tmp_path / "tuned" / "adapter_config.json", folder)  # weights and an adapter in one folder
    with pytest.raises(InputError, match="an adapter"):
        find_base(str(folder), "base")
