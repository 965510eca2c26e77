"""What a model's image processor does to a picture, in two steps: its form, then its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from einfluence.errors import InputError
from einfluence.models.base import BaseInfo
from einfluence.objectives.pretrained import refusing

Pixels = npt.NDArray[np.float32]
FILES = ("preprocessor_config.json", "processor_config.json")
# What changes values alone, and what changes the form alone, as the processors of transformers call it.
_VALUES = ("do_rescale", "do_normalize", "do_flip_channel_order")
_FORM = ("do_resize", "do_center_crop", "do_crop", "do_pad", "do_convert_rgb")
_SHAPES = ((48, 40), (40, 64))


class Steps(Protocol):
    """What an image processor does to a picture of ``channels``, (channels, height, width) with values of 0 to 255.

    Args:
        channels: Of the pictures that the model takes.
        file: Where its settings stand.
        name: What its kind is called.
    """

    channels: int
    file: str
    name: str

    def whole(self, picture: npt.NDArray[np.uint8]) -> Pixels:
        """All that it does."""
        ...

    def form(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """What it does to the form alone: a picture of bytes."""
        ...

    def values(self, picture: Pixels) -> Pixels:
        """What it does to the values alone."""
        ...


class Processor:
    """An image processor that takes the two steps one after the other.

    Args:
        steps: What it does.

    Raises:
        InputError: Where it does not give pictures of one size that are then only rescaled.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.channels = steps.channels
        self.shape = self._tried()

    def fit(self, pixels: Pixels) -> Pixels:
        """A picture (channels, height, width) in [0, 1] in the model's form: resized and cropped, as 8-bit colours."""
        return np.asarray(self._steps.form(np.rint(pixels * 255).astype(np.uint8)), np.float32) / np.float32(255)

    def values(self, pixels: Pixels) -> Pixels:
        """What the model is given of a picture in its form: rescaled and normalised."""
        return np.asarray(self._steps.values(pixels * np.float32(255)), np.float32)

    def _tried(self) -> tuple[int, int, int]:
        """The shape of what it gives, once two pictures are sure to become the same in two steps as in one."""
        draw = np.random.default_rng(0)
        shapes: set[tuple[int, ...]] = set()
        for size in _SHAPES:
            picture = draw.integers(0, 256, (self.channels, *size), dtype=np.uint8)
            whole = self._steps.whole(picture)
            fitted = self.fit(picture.astype(np.float32) / np.float32(255))
            if not np.allclose(self.values(fitted), whole, rtol=1e-5, atol=1e-5):
                found = f"{self._steps.name}, which does more than resize, crop, rescale and normalise"
                raise InputError(self._steps.file, found, "an image processor of these steps")
            shapes |= {tuple(whole.shape), tuple(fitted.shape)}
        if len(shapes) > 1:
            shown = " and ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
            fix = "set `size` to a height and a width in it, or `do_center_crop` with a `crop_size`"
            raise InputError(self._steps.file, f"pictures of {shown}", "pictures of one size", fix)
        channels, height, width = shapes.pop()
        return channels, height, width


class OfTransformers:
    """The steps of an image processor of transformers, by Pillow whatever is installed, so that numbers are the same.

    Args:
        info: The base in whose folder it lies.
        channels: Of the pictures that the model takes.
        trust_remote_code: Whether Python files of its own may be run.

    Raises:
        InputError: Where there is none.
    """

    def __init__(self, info: BaseInfo, channels: int, trust_remote_code: bool) -> None:
        from transformers import AutoImageProcessor

        folder = Path(info.folder)
        if not any((folder / name).is_file() for name in FILES):
            fix = "save it beside the weights: `AutoImageProcessor.from_pretrained(...).save_pretrained(folder)`"
            raise InputError(info.folder, f"no {FILES[0]}", "the model's image processor", fix)
        with refusing(info, "an image processor that transformers knows"):
            self._processor: Any = AutoImageProcessor.from_pretrained(
                info.folder, backend="pil", trust_remote_code=trust_remote_code, local_files_only=True
            )
        self.channels, self.file, self.name = channels, f"{info.folder}/{FILES[0]}", type(self._processor).__name__

    def whole(self, picture: npt.NDArray[np.uint8]) -> Pixels:
        """All that it does."""
        return self._call(picture)

    def form(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """What it does to the form alone."""
        return self._call(picture, _VALUES)

    def values(self, picture: Pixels) -> Pixels:
        """What it does to the values alone."""
        return self._call(picture, _FORM)

    def _call(self, pixels: npt.NDArray[Any], without: tuple[str, ...] = ()) -> npt.NDArray[Any]:
        options: dict[str, Any] = {name: False for name in without if hasattr(self._processor, name)}
        found = self._processor(images=pixels, input_data_format="channels_first", return_tensors="np", **options)
        return found["pixel_values"][0]
