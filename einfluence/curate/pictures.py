"""Images from files into arrays of (channels, height, width), float32 in [0, 1]."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from einfluence.errors import InputError

Pixels = npt.NDArray[np.float32]
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".npy")


def read_image(path: Path, where: str, channels: int | None = None) -> Pixels:
    """Reads an image file.

    Args:
        path: A PNG, JPEG, ... or a NumPy array (``.npy``: (height, width), (height, width, channels) or
            (channels, height, width); integers of 8 bits, or floats in [0, 1]).
        where: What an error names.
        channels: 1 turns colours into grey, 3 grey into colours; None keeps what the file has (1 or 3).

    Raises:
        InputError: If the file is missing or no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(where, f"no readable image {str(path)!r}", "the path of an image file") from error
    if path.suffix.lower() == ".npy":
        return from_array(_npy(data, where), where)
    return decode_image(data, where, channels)


def decode_image(data: bytes, where: str, channels: int | None = None) -> Pixels:
    """Decodes the bytes of an image file; see :func:`read_image`."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as opened:
            return _from_pil(opened, channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            where, f"an image that cannot be read ({error})"[:200], "an image such as PNG or JPEG"
        ) from error


def from_value(value: Any, where: str, folder: Path, channels: int | None = None) -> Pixels:
    """An image given as path, bytes, ``{bytes, path}`` (as ``datasets`` stores it), nested lists or a PIL image."""
    if isinstance(value, str):
        return read_image(folder / value, where, channels)
    if isinstance(value, bytes):
        return decode_image(value, where, channels)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        inner = fields.get("bytes") if fields.get("bytes") is not None else fields.get("path")
        return from_value(inner, where, folder, channels)
    if isinstance(value, list | np.ndarray):
        try:
            return from_array(np.asarray(value, dtype=None), where)
        except ValueError as error:
            raise InputError(where, "rows of different lengths", "an image as a rectangular array") from error
    if hasattr(value, "convert"):
        return _from_pil(value, channels)
    raise InputError(where, f"{value!r:.60}", "the path of an image file")


def from_array(array: npt.NDArray[Any], where: str) -> Pixels:
    """An array of 8-bit integers or of floats in [0, 1] into (channels, height, width)."""
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[0] not in (1, 3) and array.shape[-1] in (1, 3):
        array = np.moveaxis(array, -1, 0)
    if array.ndim != 3 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise InputError(
            where, f"an array of shape {array.shape}, {array.dtype}", "numbers of shape (channels, height, width)"
        )
    if array.dtype.kind in "iu":
        array = array / 255.0
    pixels = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise InputError(
            where, f"values from {pixels.min():g} to {pixels.max():g}", "floats in [0, 1] or integers in 0..255"
        )
    return pixels


def _npy(data: bytes, where: str) -> npt.NDArray[Any]:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(where, f"an array that cannot be read ({error})"[:200], "a .npy file of numbers") from error


def _from_pil(image: Any, channels: int | None) -> Pixels:
    if channels is None:
        channels = 1 if image.mode in ("1", "L", "I", "I;16", "F", "LA") else 3
    if image.mode in ("I", "I;16"):
        grey = np.asarray(image, dtype=np.float32)
        grey = grey / (65535.0 if grey.max() > 255 else 255.0)
        return np.repeat(grey[None], channels, axis=0).astype(np.float32)
    values = np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.float32) / np.float32(255)
    return np.ascontiguousarray(values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0))
