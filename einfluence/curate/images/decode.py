"""Images from files into arrays of (channels, height, width), float32 in [0, 1].

One rule for each kind of number: bits are 0 and 1, unsigned integers are divided by the largest that their type holds
(255, 65,535, 4,294,967,295), floats must lie in [0, 1] as they are. Signed integers are refused, as nothing says which
of their values is white. Transparency is laid over white, orientation (EXIF) is applied, colour profiles are not.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from einfluence.errors import InputError

Pixels = npt.NDArray[np.float32]
IMAGE_ENDINGS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm",
    ".ppm", ".pnm", ".pfm", ".jp2", ".avif", ".npy",
)  # fmt: skip
# Formats that Pillow reads by itself: others would start programs of the machine (EPS) or hold no picture.
FORMATS = ("PNG", "JPEG", "MPO", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA", "PCX", "SGI")
NUMBERS = "bits, unsigned integers (0 is black, the largest of the type is white) or floats in [0, 1]"
_SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer instead of the picture: fetch it with `git lfs pull`"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file, such as an SVG drawing"),
    (b"%pdf", "a PDF"),
    (b"%!ps", "PostScript"),
    (b"ii*\0", "a TIFF of a kind that is not read here: save it as PNG or .npy"),
    (b"mm\0*", "a TIFF of a kind that is not read here: save it as PNG or .npy"),
)
_WIDE = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_GREY = (*_WIDE, "1", "L", "LA", "La")
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientation → PIL.Image.Transpose
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, as Pillow has it
_one_at_a_time = threading.Lock()  # filters of warnings are the whole process's


@dataclass(frozen=True)
class Decoded:
    """What a file holds: ``pixels`` of its first frame or page, and whether ``more`` of them follow."""

    pixels: Pixels
    more: bool = False


def read_image(path: Path, where: str, channels: int | None = None) -> Pixels:
    """Reads an image file.

    Args:
        path: A PNG, JPEG, ... or a NumPy array (``.npy``: (height, width), (height, width, channels) or
            (channels, height, width)).
        where: What an error names.
        channels: 1 turns colours into grey, 3 grey into colours; None keeps what the file has (1 or 3).

    Raises:
        InputError: If the file is missing or no image, or its numbers cannot be read as brightness.
    """
    return decode(_bytes(path, where), where, channels).pixels


def decode_image(data: bytes, where: str, channels: int | None = None) -> Pixels:
    """The pixels of an image file's bytes; see :func:`read_image`."""
    return decode(data, where, channels).pixels


def decode(data: bytes, where: str, channels: int | None = None) -> Decoded:
    """Decodes the bytes of an image file or of a ``.npy`` file; see :func:`read_image`."""
    from PIL import Image

    with _reading(where, data):
        if data[:6] == b"\x93NUMPY":
            return Decoded(from_array(np.load(io.BytesIO(data), allow_pickle=False), where, channels))
        Image.init()
        formats = [name for name in FORMATS if name in Image.OPEN]
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            return _from_pil(opened, where, channels)


def from_value(value: Any, where: str, folder: Path, channels: int | None = None) -> Decoded:
    """An image given as path, bytes, ``{bytes, path}`` (as ``datasets`` stores it), nested lists or a PIL image."""
    if isinstance(value, str):
        fix = "download it and give its path" if "://" in value else ""
        return decode(_bytes(beside(folder, value), where, fix), where, channels)
    if isinstance(value, bytes):
        return decode(value, where, channels)
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        inner = fields.get("bytes") if fields.get("bytes") is not None else fields.get("path")
        return from_value(inner, where, folder, channels)
    if isinstance(value, list):
        return Decoded(_from_lists(cast("list[Any]", value), where, channels))
    if isinstance(value, np.ndarray):
        return Decoded(from_array(value, where, channels))
    if hasattr(value, "convert"):
        with _reading(where):
            return _from_pil(value, where, channels)
    raise InputError(where, f"{value!r:.60}", "the path of an image file")


def path_in(value: Any) -> str | None:
    """The path that an image in a table is given by, if it is."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return path_in(fields.get("path")) if fields.get("bytes") is None else None
    return value if isinstance(value, str) else None


def from_array(array: npt.NDArray[Any], where: str, channels: int | None = None) -> Pixels:
    """An array of numbers into (channels, height, width) in [0, 1], by its type's own range; see the module."""
    counts = {1, 3} if channels is None else {1, 3, channels}
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[0] not in counts and array.shape[-1] in counts:
        array = np.moveaxis(array, -1, 0)
    if array.ndim != 3 or 0 in array.shape or array.shape[0] not in counts or array.dtype.kind not in "biuf":
        raise InputError(
            where,
            f"an array of shape {array.shape}, {array.dtype}",
            "numbers of shape (height, width), (height, width, 3) or (3, height, width)",
        )
    if channels == 1 and len(array) == 3 and array.dtype == np.uint8:  # the very pixels that a PNG of them gives
        from PIL import Image

        array = np.asarray(Image.fromarray(np.ascontiguousarray(np.moveaxis(array, 0, -1))).convert("L"))[None]
    return _recoloured(scaled(array, where), channels)


def scaled(array: npt.NDArray[Any], where: str, top: float | None = None) -> npt.NDArray[np.float64]:
    """Values in [0, 1] by the rule of the module; ``top`` is white where the type alone does not say it.

    Raises:
        InputError: For signed integers, and for floats that are not finite or not in [0, 1].
    """
    if array.dtype.kind == "i":
        raise _signed(where)
    if array.dtype.kind == "b":
        return array.astype(np.float64)
    if array.dtype.kind == "u":
        return array / np.float64(top or np.iinfo(array.dtype).max)
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise InputError(where, f"values from {low:g} to {high:g}", "floats in [0, 1]", "divide them by their white")
    return array.astype(np.float64)


def _signed(where: str) -> InputError:
    found, fix = "signed integers, which do not say which value is white", "store them as uint8 or uint16"
    return InputError(where, found, NUMBERS, f"{fix}, or divided by their white")


def _from_lists(value: list[Any], where: str, channels: int | None) -> Pixels:
    try:
        array: npt.NDArray[Any] = np.asarray(value, dtype=None)
    except (ValueError, OverflowError) as error:
        raise InputError(where, "rows of different lengths", "an image as a rectangular array") from error
    if array.dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 255:
            raise InputError(where, f"values from {low} to {high}", "whole numbers in 0..255, or floats in [0, 1]")
        if high == 1:
            raise InputError(where, "whole numbers 0 and 1", "0 and 255, or 0.0 and 1.0", "1 of 255 is nearly black")
        array = array.astype(np.uint8)
    return from_array(array, where, channels)


def _from_pil(image: Any, where: str, channels: int | None) -> Decoded:
    image.load()
    if 2 in getattr(image, "tag_v2", {}).get(339, ()):
        raise _signed(where)
    upright = _upright(image)
    channels = channels or (1 if image.mode in _GREY else 3)
    if image.mode in _WIDE:
        pixels = _recoloured(_wide(image, np.asarray(upright), where)[None], channels)
    else:
        flat = _over_white(upright) if upright.has_transparency_data else upright
        bytes_ = np.asarray(flat.convert("L" if channels == 1 else "RGB"))
        pixels = _recoloured(scaled(bytes_[None] if bytes_.ndim == 2 else np.moveaxis(bytes_, -1, 0), where), None)
    return Decoded(pixels, _has_more(image))


def _wide(image: Any, array: npt.NDArray[Any], where: str) -> npt.NDArray[np.float64]:
    """Grey values of more than 8 bits, in [0, 1]; what is written as transparent is white."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, (None,))[0]
    top = None
    if image.mode == "I":  # Pillow's one mode for 32 bits, with a sign or without, and for PGM
        if image.format == "PPM":
            array = array.astype(np.uint16)  # spread over 16 bits by Pillow, whatever the file's own white
        elif image.format == "TIFF" and bits == 32:
            array = array.view(np.uint32)
    elif bits == 12:
        top = 4095
    values = scaled(array, where, top)
    if tags.get(262) == 0:  # white is zero
        values = 1 - values
    clear = image.info.get("transparency")
    return np.where(array == clear, 1.0, values) if isinstance(clear, int) else values


def _over_white(image: Any) -> Any:
    from PIL import Image

    if image.mode == "La":
        image = image.convert("LA")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _upright(image: Any) -> Any:
    try:
        turn = _TURNS.get(image.getexif().get(0x0112))
    except Exception:  # a block of metadata that cannot be read turns no picture
        turn = None
    return image if turn is None else image.transpose(turn)


def _has_more(image: Any) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the first frame is whole; what follows is damaged
        return True


def _recoloured(values: npt.NDArray[np.float64], channels: int | None) -> Pixels:
    if channels == 3 and len(values) == 1:
        values = np.repeat(values, 3, axis=0)
    elif channels == 1 and len(values) == 3:
        values = np.clip(np.tensordot(_LUMA, values, 1), 0, 1)[None]
    return np.ascontiguousarray(values, dtype=np.float32)


def beside(folder: Path, name: str) -> Path:
    """The file that a table names: as written, or if there is none, with backslashes taken as Windows means them."""
    path = folder / name
    return folder / name.replace("\\", "/") if "\\" in name and not _is_file(path) else path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _bytes(path: Path, where: str, fix: str = "") -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(where, f"no readable image {str(path)!r}", "the path of an image file", fix) from error


@contextmanager
def _reading(where: str, data: bytes | None = None) -> Generator[None]:
    """Whatever a damaged image raises is one InputError; no warning of Pillow's reaches the user, but for a bomb's."""
    from PIL import Image

    logger = logging.getLogger("PIL")
    with _one_at_a_time, warnings.catch_warnings():
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # no list holds all that Pillow's and NumPy's readers raise
            reason = re.sub(r" at 0x\w+", "", (str(error).splitlines() or [""])[0]) or type(error).__name__
            if "BytesIO" in reason:  # Pillow's words for a file that none of its readers takes
                reason = _recognised(data or b"") or "in no format that is known here"
            raise InputError(
                where, f"an image that cannot be read ({reason})"[:200], "an image such as PNG or JPEG"
            ) from error
        finally:
            logger.setLevel(level)


def _recognised(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "HEIC: convert it to JPEG or PNG"
    start = data[:200].lstrip().lower()
    return next((name for sign, name in _SIGNATURES if start.startswith(sign)), "")
