"""Image classifiers of transformers: the log-probability of an image's class, by a model and its image processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from einfluence.curate.classes import class_names
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo, Batch, Capability
from einfluence.objectives.encoders import widened
from einfluence.objectives.heads import last_with, timm_classifier
from einfluence.objectives.pictures import ImageItem, encode_picture, stacked
from einfluence.objectives.processing import OfTransformers, Processor
from einfluence.objectives.timm_models import OfTimm, of_timm, refuse_odd_classifier, refuse_without_timm
from einfluence.samples import IMAGE_CLASS, Sample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

EXPECTED = "an image classifier of transformers (…ForImageClassification)"


def load_pretrained(info: BaseInfo, *, trust_remote_code: bool, device: str) -> Base:
    """A model of transformers with its trained head, and its image processor."""
    from einfluence.models import loaded
    from einfluence.objectives.pretrained import check_names, load_model, quiet, refusing, stored_tensors

    timm = of_timm(info.config)
    if timm:
        refuse_without_timm(info)
    auto, what = "AutoModelForImageClassification", "an image classifier"
    with quiet():
        stored = stored_tensors(info)
        model = load_model(info, auto, stored, trust_remote_code, what=what, expected=EXPECTED).to(device)
        config = model.config
        channels = int(getattr(config, "num_channels", 3))
        steps = OfTimm(info) if timm else OfTransformers(info, channels, trust_remote_code)
        with refusing(info, "an image processor that transformers knows"):
            processor = Processor(steps)
    if config.num_labels < 2:
        raise InputError(f"{info.folder}/config.json id2label", f"{config.num_labels} class", "two or more")

    def read(pixels: Float[torch.Tensor, "B C H W"]) -> Float[torch.Tensor, "B classes"]:
        return model(pixel_values=pixels).logits

    loaded.try_classifier(model, processor.shape, config.num_labels, info.folder, read)
    check_names(config, info, "classes")
    named = {"id2label": config.id2label} if timm else info.config  # timm knows names that no file has
    names = class_names(named, config.num_labels)
    if timm:
        refuse_odd_classifier(model, info)
    return Base(info, model, PretrainedImages(processor, config.num_labels, names))


@dataclass(frozen=True)
class PretrainedImages:
    """The objective `image_class` of a model of transformers: pictures are of its processor's size, scaled by it.

    Args:
        processor: The model's image processor.
        n_classes: How many classes it has.
        names: Indices by name of its classes, where its configuration names them.
    """

    name: ClassVar[str] = IMAGE_CLASS
    modality: ClassVar[str] = "image"
    can: ClassVar[frozenset[Capability]] = frozenset(("one size",))

    processor: Processor
    n_classes: int
    names: Mapping[str, int] | None = None

    def encode(self, sample: Sample, where: str) -> ImageItem:
        """Pixels as the processor scales them, and the class."""
        item = encode_picture(sample, where, self.processor.shape, self.n_classes)
        return ImageItem(self.processor.values(item.pixels), item.label)

    def collate(self, items: Sequence[ImageItem]) -> Batch:
        """Pictures (B, channels, height, width); one target each."""
        return stacked(items)

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[torch.Tensor, "B 1 classes"]:
        """(B, 1, classes)."""
        return widened(call(pixel_values=batch.inputs["pixels"]).logits[:, None])

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """What timm calls the classifier, else the last Linear that gives one number a class."""
        return timm_classifier(model) or last_with(model, self.n_classes)

    def curation(self) -> Mapping[str, Any]:
        """As of other images, and how a picture gets the model's form."""
        shape, fit = self.processor.shape, self.processor.fit
        return {"n_classes": self.n_classes, "shape": shape, "class_names": self.names, "fit": fit}
