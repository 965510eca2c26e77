"""What a training made of a base, written as transformers and peft read it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from einfluence.bases.find import beside
from einfluence.engine.structure import changes_itself
from einfluence.engine.trained import trained_base, trained_copy
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.models.weights import SINGLE
from einfluence.objectives.pretrained import quiet
from einfluence.recipe import Recipe


def save_base(base: Base, trained: Base, folder: Path) -> None:
    """Writes a trained base as a folder that :func:`einfluence.bases.load.load_base` and transformers load.

    Weights are in float32, whatever the recipe computed in.

    Args:
        base: What it was before: its tokenizer, or what else is read beside the weights, is copied.
        trained: From :func:`einfluence.engine.trained.trained_base`.
        folder: Is made.

    Raises:
        InputError: For a model that changes its weights whenever it is first run: those of the files would be others.
    """
    if changes_itself(base.model):
        found = f"{type(base.model).__name__}, which changes its weights when it is first run"
        raise InputError(f"base {base.info.label}", found, "a model whose weights can be saved as they are")
    source, model = Path(base.info.folder), cast("Any", trained.model).float().cpu()
    folder.mkdir(parents=True)
    for file in beside(source):
        (folder / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / file, folder / file)
    if hasattr(model, "save_pretrained"):
        _untie(model)
        with quiet():
            model.save_pretrained(folder)
        return
    from safetensors.torch import save_file

    shutil.copyfile(source / "config.json", folder / "config.json")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / SINGLE)


def save_trained(base: Base, recipe: Recipe, delta: Mapping[str, Tensor], folder: Path) -> None:
    """As :func:`save_base`, of what a training left behind."""
    save_base(base, trained_base(base, recipe, delta, base.info.base_id, base.info.label), folder)


def save_adapter(base: Base, recipe: Recipe, delta: Mapping[str, Tensor], folder: Path) -> None:
    """Writes the adapters of a training as peft does.

    Args:
        base: The base, whose place the adapter's configuration names.
        recipe: Of the training, with LoRA.
        delta: From :func:`einfluence.engine.trained.parameters`.
        folder: Is made.
    """
    model: Any = trained_copy(base, recipe, delta)[0]
    config = model.peft_config["default"]
    name, _, revision = base.info.label.partition("@")
    hub = Path(base.info.folder).parent.name == "snapshots"
    config.base_model_name_or_path, config.revision = (name, revision or None) if hub else (base.info.folder, None)
    model.save_pretrained(folder, save_embedding_layers=False)  # no embedding is trained, only adapted


def _untie(model: Any) -> None:
    """Says in a configuration that an output layer is no longer the embedding, where only one of them was trained."""
    ends = [getattr(model, name, lambda: None)() for name in ("get_input_embeddings", "get_output_embeddings")]
    weights = [getattr(end, "weight", None) for end in ends]
    if None not in weights and weights[0] is not weights[1]:
        for config in (model.config, model.config.get_text_config()):
            if getattr(config, "tie_word_embeddings", False):
                config.tie_word_embeddings = False
