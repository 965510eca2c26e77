"""Image classes: the log-probability of an image's class, here by a network that is given by its layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from einfluence.curate.classes import class_names
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo, Batch, Capability
from einfluence.models.kinds import built_for, refuse_quantised
from einfluence.models.weights import read_tensors, weight_files
from einfluence.objectives.heads import last_linear
from einfluence.objectives.pictures import ImageItem, encode_picture, stacked
from einfluence.objectives.pretrained_images import load_pretrained
from einfluence.objectives.timm_models import of_timm
from einfluence.samples import IMAGE_CLASS, Sample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

__all__ = ["LAYERS", "ImageClass", "ImageItem", "build_classifier"]

LAYERS = (
    "Conv2d", "Linear", "BatchNorm2d", "GroupNorm", "LayerNorm", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d",
    "ReLU", "GELU", "SiLU", "Tanh", "Sigmoid", "Identity", "Dropout", "Flatten",
)  # fmt: skip


@dataclass(frozen=True)
class ImageClass:
    """The objective of an image classifier from (batch, channels, height, width) to class logits.

    Args:
        shape: (channels, height, width) of its pictures.
        n_classes: How many classes it has.
        names: Indices by name of its classes, where its configuration names them.
    """

    name: ClassVar[str] = IMAGE_CLASS
    modality: ClassVar[str] = "image"
    can: ClassVar[frozenset[Capability]] = frozenset(("pixels", "one size"))

    shape: tuple[int, int, int]
    n_classes: int
    names: Mapping[str, int] | None = None

    @classmethod
    def claims(cls, config: Mapping[str, Any]) -> bool:
        """A configuration that says so, or whose architectures are image classifiers of transformers."""
        return config.get("modality") == "image" or _pretrained(config)

    @classmethod
    def reads(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """The settings of an image processor."""
        return ("preprocessor_config.json", "processor_config.json") if _pretrained(config) else ()

    @classmethod
    def check(cls, folder: Path, config: Mapping[str, Any]) -> None:
        """Refuses quantised weights of transformers; of layers, nothing before they are built."""
        if _pretrained(config):
            refuse_quantised(folder, config)

    @classmethod
    def load(cls, info: BaseInfo, *, trust_remote_code: bool, device: str) -> Base:
        """Builds the layers of config.json and fills them; or has transformers do it."""
        if _pretrained(info.config):
            return load_pretrained(info, trust_remote_code=trust_remote_code, device=device)
        import torch
        from safetensors.torch import load_file

        from einfluence.models import loaded

        where = os.path.join(info.folder, "config.json")
        shape, classes = info.config.get("input_shape"), info.config.get("classes")
        if not (_positive_integers(shape) and len(cast("list[int]", shape)) == 3):
            raise InputError(f"{where} input_shape", f"{shape!r}", "[channels, height, width]")
        if not _positive_integers([classes]):
            raise InputError(f"{where} classes", f"{classes!r}", "the number of classes")
        files = weight_files(Path(info.folder), info.config, info.folder)
        read_tensors(files)
        with torch.device("meta"):  # no memory is filled that no file fills
            model = build_classifier(info.config, where)
        weights: dict[str, torch.Tensor] = {}
        for file in files:
            weights |= {name: value.clone() for name, value in load_file(file).items()}  # where memory is aligned
        try:
            model.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            expected = "the state dict of the network in config.json"
            raise InputError(info.folder, f"weights that do not fit the layers ({reason})", expected) from error
        loaded.check_finite(model.state_dict().items(), info.folder)
        model = model.float().to(device).eval().requires_grad_(False)
        size = cast("tuple[int, int, int]", tuple(cast("list[int]", shape)))
        count = cast("int", classes)
        loaded.try_classifier(model, size, count, f"{where} layers")
        return Base(info, model, cls(size, count, class_names(info.config, count)))

    def encode(self, sample: Sample, where: str) -> ImageItem:
        """Pixels and class, which must be of the model's shape and among its classes."""
        return encode_picture(sample, where, self.shape, self.n_classes)

    def collate(self, items: Sequence[ImageItem]) -> Batch:
        """Pictures (B, channels, height, width); one target each."""
        return stacked(items)

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[torch.Tensor, "B 1 classes"]:
        """(B, 1, classes)."""
        return call(batch.inputs["pixels"])[:, None]

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """The last Linear."""
        return last_linear(model)

    def curation(self) -> Mapping[str, Any]:
        """The shape, the classes and their names."""
        return {"n_classes": self.n_classes, "shape": self.shape, "class_names": self.names}


def build_classifier(config: dict[str, Any], where: str) -> torch.nn.Sequential:
    """Builds an image classifier from its documented configuration: a list of [torch.nn class, arguments].

    Raises:
        InputError: For a layer that is not in :data:`LAYERS` or arguments that it does not take.
    """
    import torch

    modules: list[torch.nn.Module] = []
    layers = config.get("layers")
    for index, layer in enumerate(cast("list[Any]", layers if isinstance(layers, list) else [])):
        kind, arguments = (layer + [{}])[:2] if isinstance(layer, list) and layer else (layer, {})
        if kind not in LAYERS:
            raise InputError(f"{where} layers.{index}", f"{kind!r}", f"one of {', '.join(LAYERS)}")
        try:
            modules.append(getattr(torch.nn, kind)(**arguments))
        except Exception as error:  # torch raises many kinds for sizes that cannot be
            raise InputError(
                f"{where} layers.{index}", f"{kind} with {arguments}", f"arguments of torch.nn.{kind} ({error})"
            ) from error
    if not modules:
        raise InputError(where, "no `layers`", "a list of [torch.nn class, arguments], from pixels to class logits")
    return torch.nn.Sequential(*modules)


def _pretrained(config: Mapping[str, Any]) -> bool:
    """Whether a base is a model of transformers; its own layers take precedence."""
    of_timm_itself = "pretrained_cfg" in config and "architectures" not in config and of_timm(config)
    return "layers" not in config and (built_for(config, "ForImageClassification") or of_timm_itself)


def _positive_integers(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        type(item) is int and item > 0 for item in cast("Sequence[object]", value)
    )
