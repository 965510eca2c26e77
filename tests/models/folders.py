"""Small models as people have them in folders, made once and copied for each test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedConfig

Tensors = dict[str, torch.Tensor]


def save_model(folder: Path, tokenizer_of: Path, config: PreTrainedConfig, kind: Any = None) -> Path:
    """A random model of this configuration beside the tokenizer of another folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = (kind or AutoModelForCausalLM.from_config)(config)
    model.save_pretrained(folder)
    for file in tokenizer_of.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


def change_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Writes the weights anew, changed."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "model.safetensors")


def change_config(folder: Path, **changes: Any) -> None:
    """Writes config.json anew; None takes a key away."""
    config = json.loads((folder / "config.json").read_text()) | changes
    gone = {key for key, value in changes.items() if value is None}
    kept = {key: value for key, value in config.items() if key not in gone}
    (folder / "config.json").write_text(json.dumps(kept))
