"""Images of samples as PNG data URIs: one by one, or many in one sprite."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 32  # pixels; larger images are shrunk to this in the page


def picture(pixels: Sequence[float] | npt.NDArray[np.float32], shape: Sequence[int]) -> Image.Image:
    """An image from its flattened channels × height × width in [0, 1]; one channel is grey, three are colour."""
    values = np.asarray(pixels, dtype=np.float32).reshape([int(n) for n in shape])
    bytes_ = (np.nan_to_num(np.clip(values, 0, 1)) * 255).round().astype(np.uint8)
    if bytes_.shape[0] == 3:
        return Image.fromarray(np.ascontiguousarray(bytes_.transpose(1, 2, 0)), "RGB")
    return Image.fromarray(np.ascontiguousarray(bytes_[0]), "L")


def class_of(row: Mapping[str, Any]) -> str:
    """The class of a sample's row: its index, and its name where it has one."""
    return f"{row['label']} ({row['label_name']})" if row["label_name"] else str(row["label"])


def data_uri(image: Image.Image) -> str:
    """The image as a PNG in a ``data:`` address."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def sprite(images: Sequence[Image.Image], columns: int = 32) -> dict[str, object]:
    """Many images as the tiles of one: its address, the tile's side, the number of columns and of rows."""
    if not images:
        return {"uri": "", "side": 0, "columns": 1, "rows": 0}
    side = min(SIDE, max(max(image.size) for image in images))
    colour = any(image.mode == "RGB" for image in images)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB" if colour else "L", (columns * side, rows * side))
    for index, image in enumerate(images):
        fitted = image if max(image.size) <= side else image.resize((side, side), Image.Resampling.BOX)
        sheet.paste(fitted, (index % columns * side, index // columns * side))
    return {"uri": data_uri(sheet), "side": side, "columns": columns, "rows": rows}
