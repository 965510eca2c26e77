"""Models of timm, which transformers wraps: which they are, what becomes of a picture, where their classifier is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from einfluence.errors import InputError
from einfluence.models.base import BaseInfo
from einfluence.objectives.heads import timm_classifier
from einfluence.objectives.pretrained import refusing

if TYPE_CHECKING:
    import torch

_TO_TENSOR = ("ToTensor", "MaybeToTensor")  # bytes to [0, 1]: the form is given before it, the values behind it


def of_timm(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a model of timm, as timm writes it itself or as transformers does."""
    return "architecture" in config and config.get("model_type", "timm_wrapper") == "timm_wrapper"


def refuse_without_timm(info: BaseInfo) -> None:
    """Refuses a model of timm where it cannot be built.

    Raises:
        InputError: Where timm or torchvision is not installed.
    """
    from transformers.utils.import_utils import is_timm_available, is_torchvision_available

    there = {"timm": is_timm_available(), "torchvision": is_torchvision_available()}
    absent = [name for name, available in there.items() if not available]
    if absent:
        found = f"a model of timm ({info.config['architecture']}), and no {' and no '.join(absent)}"
        raise InputError(info.label, found, "both installed beside transformers", f"pip install {' '.join(absent)}")


def refuse_odd_classifier(model: torch.nn.Module, info: BaseInfo) -> None:
    """Refuses a model of timm whose classes are not given by one Linear: a fully convolutional or a distilled one.

    Raises:
        InputError: For such a model.
    """
    import torch

    found = timm_classifier(model)
    if not isinstance(found, torch.nn.Linear):
        kinds = " and ".join(type(one).__name__ for one in (found if isinstance(found, tuple) else [found]))
        raise InputError(info.folder, f"a model of timm whose classifier is {kinds}", "a model with one Linear there")


class OfTimm:
    """The steps of a model of timm, as `pretrained_cfg` in its config.json has them: by Pillow, then by torch.

    Args:
        info: The base.

    Raises:
        InputError: Where they are not those of pictures that become numbers once.
    """

    def __init__(self, info: BaseInfo) -> None:
        from transformers import AutoImageProcessor

        self.file, self.name = f"{info.folder}/config.json pretrained_cfg", "transforms of timm"
        with refusing(info, "`pretrained_cfg` in config.json, as timm writes it"):
            self._processor: Any = AutoImageProcessor.from_pretrained(info.folder, local_files_only=True)
            steps: list[Any] = self._processor.val_transforms.transforms
            self.channels = int(self._processor.data_config["input_size"][0])
        at = [place for place, step in enumerate(steps) if type(step).__name__ in _TO_TENSOR]
        if len(at) != 1 or self.channels not in (1, 3):
            found = f"{', '.join(type(step).__name__ for step in steps)} for {self.channels} channels"
            raise InputError(self.file, found, "transforms of a grey or coloured picture with ToTensor among them")
        self._form, self._values = steps[: at[0]], steps[at[0] + 1 :]

    def whole(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """All that they do."""
        return self._processor(_picture(picture), return_tensors="pt")["pixel_values"][0].numpy()

    def form(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """What they do to the form alone."""
        image = _picture(picture)
        for step in self._form:
            image = step(image)
        found = np.asarray(image)
        return found[None] if found.ndim == 2 else np.moveaxis(found, -1, 0)

    def values(self, picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What they do to the values alone."""
        import torch

        found = torch.from_numpy(picture / np.float32(255))
        for step in self._values:
            found = step(found)
        return found.numpy()


def _picture(picture: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(picture[0] if len(picture) == 1 else np.ascontiguousarray(np.moveaxis(picture, 0, -1)))
