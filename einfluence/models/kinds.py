"""What a model's folder says it is, read before anything is loaded; what cannot be measured is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from einfluence.errors import InputError
from einfluence.models.weights import check_pointer

QUANTISED = ("quantization_config", "compression_config", "quantization")
QUANTISED_FILES = ("quantize_config.json", "quant_config.json", "quantization_config.json")
# What stands behind "For" in the name of a transformers class that is no language model.
TASKS = {
    "QuestionAnswering": "a model that marks answers",
    "PreTraining": "an encoder, which reads both ways",
}
_TASK = re.compile(r"For([A-Z]\w*)$")
CAUSAL = "a causal language model of transformers (…ForCausalLM)"


def read_config(folder: Path, where: str, name: str | None = None) -> dict[str, Any]:
    """A model folder's config.json, once it is plain that the folder is something that can be measured.

    Args:
        folder: The folder.
        where: What error messages call the place where it was named.
        name: Its hub id, where it has one.

    Raises:
        InputError: For an adapter, or a file that is damaged.
    """
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        raise InputError(where, *_adapter(name or str(folder), adapter))
    file = folder / "config.json"
    if not file.is_file():
        expected = "a model folder with config.json and model.safetensors"
        raise InputError(where, f"{folder}, which has no config.json", expected, "save it with `save_pretrained`")
    return read_json(file)


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping.

    Raises:
        InputError: When it cannot be read or holds something else.
    """
    expected, again = "a mapping in JSON, encoded as UTF-8", "download or save the model again"
    try:
        check_pointer(file)
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(str(file), f"JSON that cannot be read ({reason})", expected, again) from error
    if not isinstance(value, dict):
        raise InputError(str(file), f"a {type(value).__name__}", expected, again)
    return cast("dict[str, Any]", value)


def foreign_code(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """The hub ids of other repositories whose Python code a model asks for (``auto_map`` with ``org/name--module``)."""
    file = folder / "tokenizer_config.json"
    maps = [config.get("auto_map"), read_json(file).get("auto_map") if file.is_file() else None]
    return sorted({name.split("--")[0] for found in maps for name in _strings(found) if "--" in name})


def _adapter(name: str, file: Path) -> tuple[str, str, str]:
    try:
        base = read_json(file).get("base_model_name_or_path")
    except InputError:
        base = None
    found = f"{name}, an adapter" + (f" for {base}" if base else "") + " (adapter_config.json)"
    of, into = repr(str(base or "BASE")), repr(f"{Path(name).name}-merged")
    code = (
        "from peft import PeftModel; from transformers import AutoModelForCausalLM, AutoTokenizer; "
        f"model = AutoModelForCausalLM.from_pretrained({of}); "
        f"PeftModel.from_pretrained(model, {name!r}).merge_and_unload().save_pretrained({into}); "
        f"AutoTokenizer.from_pretrained({of}).save_pretrained({into})"
    )
    fix = f'merge it into its base with `python -c "{code}"`, then take {into} as the base'
    return found, "a model with its whole weights", fix


def says_four_bit(config: Mapping[str, Any]) -> bool:
    """Whether config.json says that bitsandbytes packed the weights into 4 bits."""
    given = config.get("quantization_config")
    named = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    return named.get("quant_method") == "bitsandbytes" and named.get("load_in_4bit") is True


def refuse_quantised(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises InputError for a folder of quantised weights, but for those that bitsandbytes packed into 4 bits."""
    if says_four_bit(config):
        config = {key: value for key, value in config.items() if key != "quantization_config"}
    nested = [config, *(value for value in config.values() if isinstance(value, dict))]
    keys = [(key, part[key]) for part in nested for key in QUANTISED if part.get(key) is not None]
    files = [name for name in QUANTISED_FILES if (folder / name).is_file()]
    if not keys and not files:
        return
    method = next((value.get("quant_method") for _, value in keys if isinstance(value, dict)), None)
    named = f"`{keys[0][0]}`" if keys else files[0]
    found = f"{named}{f' ({method})' if method else ''}: quantised weights"
    if method == "bitsandbytes":  # in 8 bits, what is multiplied with the weights is rounded as well
        found += " in other than 4 bits"
    fix = "take the unquantised weights of this model"
    expected = "weights in float32, float16 or bfloat16, or in 4 bits by bitsandbytes"
    raise InputError(str(folder / "config.json"), found, expected, fix)


def refuse_other_tasks(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises InputError for models of transformers that are no causal language models by their name."""
    file = folder / "config.json"
    names = [name for name in _strings(config.get("architectures"))]
    tasks = [(name, match[1]) for name in names if (match := _TASK.search(name))]
    if len({task for _, task in tasks}) > 1:
        found, expected = f"classes of several tasks ({', '.join(names)})", "one, which says what the base predicts"
        raise InputError(f"{file} architectures", found, expected, "leave the others out")
    if (
        names
        and len(tasks) == len(names)
        and not any(task in ("CausalLM", "ConditionalGeneration") for _, task in tasks)
    ):
        name, task = tasks[0]
        expected = f"{CAUSAL}, or one for another objective that docs/bases.md lists"
        raise InputError(f"{file} architectures", f"{name}, {TASKS.get(task, 'a model for another task')}", expected)
    if config.get("is_encoder_decoder") is True and not any(task == "CausalLM" for _, task in tasks):
        name = names[0] if names else config.get("model_type")
        found = f"{name}, which turns one text into another (encoder and decoder)"
        raise InputError(f"{file} is_encoder_decoder", found, CAUSAL, "take a model that continues texts")


def built_for(config: Mapping[str, Any], *tasks: str) -> bool:
    """Whether all `architectures` of a configuration are classes of transformers for one of these tasks."""
    names = config.get("architectures")
    listed = cast("list[object]", names) if isinstance(names, list) else []
    return bool(listed) and all(str(name).endswith(tasks) for name in listed)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in cast("list[object]", list(value.values()) if isinstance(value, dict) else value):
            yield from _strings(item)
