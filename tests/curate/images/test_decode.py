"""What becomes of a picture's numbers: one rule for each kind, the same for pictures that look the same."""

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from einfluence.curate.images.decode import decode, decode_image, from_array, from_value, read_image
from einfluence.errors import InputError

Array = npt.NDArray[Any]
SHAPE = (4, 5)
RNG = np.random.default_rng(7)
BYTES = RNG.integers(0, 256, SHAPE, np.uint8)
COLOURS = RNG.integers(0, 256, (*SHAPE, 3), np.uint8)
TWELVE = np.array([[0x12, 0x3F, 0xFF]], np.uint8)
SHORTS = RNG.integers(0, 65536, SHAPE, np.uint16)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tiff(array: Array, sample_format: int, *, photometric: int = 1, bits: int = 0, width: int = 0) -> bytes:
    """A bare TIFF of one grey strip, of types that Pillow does not write itself."""
    order = ">" if array.dtype.byteorder == ">" else "<"
    height, body = len(array), array.tobytes()
    tags = {
        256: width or array.shape[1], 257: height, 258: bits or 8 * array.itemsize, 259: 1, 262: photometric,
        273: 0, 277: 1, 278: height, 279: len(body), 339: sample_format,
    }  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return start + entries + bytes(4) + body


def grey(array: Array, channels: int | None = 1) -> Any:
    return pytest.approx(np.repeat(array[None], channels or 1, axis=0), abs=1e-7)


INTEGERS, FLOATS = ("u1", "u2", ">u2", "u4", "u8"), ("f2", "f4", ">f8")
UNSIGNED: dict[str, tuple[bytes, Array]] = {
    "8-bit PNG": (encoded(Image.fromarray(BYTES), "PNG"), BYTES / 255),
    "16-bit PNG": (encoded(Image.fromarray(SHORTS), "PNG"), SHORTS / 65535),
    "16-bit PNG, all of it dark": (encoded(Image.fromarray(SHORTS % 200), "PNG"), SHORTS % 200 / 65535),
    "16-bit TIFF, dark": (encoded(Image.fromarray(SHORTS % 200), "TIFF"), SHORTS % 200 / 65535),
    "16-bit TIFF, packed": (encoded(Image.fromarray(SHORTS), "TIFF", compression="tiff_lzw"), SHORTS / 65535),
    "16-bit TIFF, big-endian": (tiff(SHORTS.astype(">u2"), 1), SHORTS / 65535),
    "16-bit TIFF, white is zero": (tiff(SHORTS, 1, photometric=0), 1 - SHORTS / 65535),
    "8-bit TIFF, white is zero": (tiff(BYTES, 1, photometric=0), 1 - BYTES / 255),
    "12-bit TIFF": (tiff(TWELVE, 1, bits=12, width=2), np.array([[0x123, 4095]]) / 4095),
    "32-bit TIFF": (tiff(SHORTS.astype("<u4") << 16, 1), (SHORTS.astype(float) * 65536) / (2**32 - 1)),
    "float TIFF": (tiff((SHORTS / 65535).astype("<f4"), 3), SHORTS / 65535),
    "float TIFF, big-endian": (tiff((SHORTS / 65535).astype(">f4"), 3), SHORTS / 65535),
    "16-bit PGM": (b"P5 5 4 65535\n" + (SHORTS % 99).astype(">u2").tobytes(), SHORTS % 99 / 65535),
    "PGM whose white is 15": (b"P5 5 4 15\n" + (BYTES % 16).tobytes(), BYTES % 16 / 15),
    "1-bit PNG": (encoded(Image.fromarray(BYTES > 99), "PNG"), (BYTES > 99) * 1.0),
    "PFM": (b"Pf 5 4 -1\n" + (BYTES[::-1] / 255).astype("<f4").tobytes(), BYTES / 255),
    **{f"{kind} .npy": (npy(BYTES.astype(kind)), BYTES / np.iinfo(kind).max) for kind in INTEGERS},
    **{f"{kind} .npy": (npy((BYTES / 255).astype(kind)), (BYTES / 255).astype(kind)) for kind in FLOATS},
    ".npy of bits": (npy(BYTES > 99), (BYTES > 99) * 1.0),
    ".npy, column by column": (npy(np.asfortranarray(BYTES)), BYTES / 255),
}  # fmt: skip


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("kind", UNSIGNED)
def test_values_go_by_the_range_of_their_type(kind: str, channels: int | None) -> None:
    data, values = UNSIGNED[kind]
    found = decode_image(data, kind, channels)
    assert found.dtype == np.float32 and found == grey(values, channels)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (tiff(SHORTS.astype("<i2"), 2), "signed integers"),
        (tiff(SHORTS.astype(">i4"), 2), "signed integers"),
        (tiff(BYTES.view(np.int8), 2), "signed integers"),
        (npy(BYTES.astype(np.int64)), "signed integers"),
        (npy(BYTES.astype(np.int8)), "signed integers"),
        (tiff(np.full(SHAPE, 900, "<f4"), 3), "values from 900 to 900"),
        (tiff(np.full(SHAPE, -0.1, "<f4"), 3), "values from -0.1 to -0.1"),
        (npy(np.array([[0.5, np.nan]])), "values from nan to nan"),
        (npy(np.array([[0.5, np.inf]])), "values from 0.5 to inf"),
        (npy(np.zeros((4, 4, 4), np.uint8)), r"an array of shape \(4, 4, 4\)"),
        (npy(np.zeros((2, 2), complex)), "complex128"),
        (npy(np.array([["a"]])), "<U1"),
        (npy(np.array([[None]])), "an image that cannot be read"),
        (npy(np.zeros((0, 4))), r"shape \(1, 0, 4\)"),
        (npy(BYTES)[:-3], "an image that cannot be read"),
        (encoded(Image.fromarray(BYTES), "PNG")[:50], "an image that cannot be read"),
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>404</html>", "a web page"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (tiff(SHORTS.astype("<f8"), 3), "a TIFF of a kind that is not read here"),
        (b"P5 20000 20000 255\n", "exceeds limit"),
        (encoded(Image.new("1", (12000, 8000)), "PNG"), "exceeds limit"),
    ],
)
def test_what_says_no_brightness_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(InputError, match=f"^place: found .*{found}"):
        decode_image(data, "place", 1)


def seen(image: Image.Image, kind: str = "PNG", channels: int = 3, **options: Any) -> Array:
    return decode_image(encoded(image, kind, **options), "x", channels)


def test_transparent_pictures_that_look_the_same_are_the_same_pixels() -> None:
    alpha = np.where(BYTES > 128, 255, 0).astype(np.uint8)
    shown = np.where(alpha[..., None] == 255, COLOURS, 255).astype(np.uint8)
    for hidden in (0, 90, 255):
        under = np.where(alpha[..., None] == 255, COLOURS, hidden).astype(np.uint8)
        for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
            for channels in (1, 3):
                found = seen(Image.fromarray(np.dstack([under, alpha])), kind, channels, **options)
                assert (found == seen(Image.fromarray(shown), "PNG", channels)).all()
    for white in (seen(Image.new("LA", (4, 4), (200, 0)), channels=1), seen(Image.new("RGBA", (4, 4)))):
        assert (white == 1).all()
    dot = Image.fromarray(np.where(BYTES > 128, 7, 9).astype(np.uint8))
    expected = np.where(BYTES > 128, 1, np.float32(9) / np.float32(255))
    assert seen(dot, channels=1, transparency=7) == grey(expected)
    assert seen(dot.convert("RGB"), transparency=(7, 7, 7)) == grey(expected, 3)
    assert seen(Image.fromarray(SHORTS), channels=1, transparency=int(SHORTS[0, 0]))[0, 0, 0] == 1
    half = seen(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    assert half == pytest.approx(1 - 128 / 255, abs=1 / 255)


def test_palettes_with_transparent_entries() -> None:
    indices = np.arange(20, dtype=np.uint8).reshape(SHAPE) % 4
    image = Image.fromarray(indices, "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 255, 0])
    table = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [0, 255, 0]])
    plain = np.moveaxis(table[indices], -1, 0) / 255
    assert seen(image) == pytest.approx(plain, abs=1e-7)
    clear = np.where((indices == 3)[None], 1, plain)
    for kind, transparency in (("PNG", 3), ("GIF", 3), ("PNG", bytes([255, 255, 255, 0]))):
        assert seen(image, kind, transparency=transparency) == pytest.approx(clear, abs=1e-7)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_four_inks_are_read_as_they_are_shown(kind: str) -> None:
    image = Image.new("RGB", (16, 16), (200, 30, 30))
    for channels, expected in ((3, [200, 30, 30]), (1, [0.299 * 200 + 0.587 * 30 + 0.114 * 30])):
        found = seen(image.convert("CMYK"), kind, channels)
        assert found.mean((1, 2)) * 255 == pytest.approx(expected, abs=3)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "LAB", "RGBX"])
def test_other_colour_spaces_are_read_as_colours(mode: str) -> None:
    found = from_value(Image.new("RGB", (4, 4), (200, 30, 30)).convert(mode), "x", Path("."), 3).pixels
    assert found.mean((1, 2)) * 255 == pytest.approx([200, 30, 30], abs=8)


def test_colours_become_grey_and_grey_becomes_colours() -> None:
    luma = COLOURS @ [0.299, 0.587, 0.114] / 255
    for value in (encoded(Image.fromarray(COLOURS), "PNG"), npy(COLOURS), npy(np.moveaxis(COLOURS, -1, 0))):
        assert decode_image(value, "x", 1) == pytest.approx(luma[None], abs=1 / 255)
        assert (decode_image(value, "x", 1) == decode_image(encoded(Image.fromarray(COLOURS), "PNG"), "x", 1)).all()
        assert decode_image(value, "x", None).shape == (3, *SHAPE)
    assert from_array(COLOURS / 255, "x", 1) == pytest.approx(luma[None], abs=1e-6)
    assert from_array(np.ones((2, 4, 4), np.float32), "x", 2).shape == (2, 4, 4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    picture = np.kron(np.array([[10, 120], [240, 60], [180, 30]]), np.ones((8, 8))).astype(np.uint8)
    turned: dict[int, Callable[[Array], Array]] = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
        6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a.T, 2), 8: np.rot90,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    found = seen(Image.fromarray(picture).convert("RGB"), kind, 1, exif=exif, **options)
    assert found == pytest.approx(turned[orientation](picture)[None] / 255, abs=0.02)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_the_first_of_several_frames_is_taken_and_known_to_be_one_of_several(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), (shade, shade, shade)) for shade in (0, 120, 250)]
    options = {"lossless": True} if kind == "WEBP" else {}
    moving = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options), "x", 1)
    still = decode(encoded(frames[0], kind, **options), "x", 1)
    assert moving.more and not still.more
    assert (moving.pixels == 0).all() and (still.pixels == 0).all()


def test_lists_of_numbers() -> None:
    for value in ([[0, 255], [51, 102]], [[0.0, 1.0], [0.2, 0.4]], [[[0.0, 1.0], [0.2, 0.4]]]):
        assert from_value(value, "x", Path(".")).pixels.ravel() == pytest.approx([0, 1, 0.2, 0.4])
    for value, found in (
        ([[0, 1], [1, 0]], "whole numbers 0 and 1"),
        ([[0, 256]], "values from 0 to 256"),
        ([[0, -1]], "values from -1 to 0"),
        ([[0.5, 1.5]], "values from 0.5 to 1.5"),
        ([[1], [1, 2]], "rows of different lengths"),
        ([["a"]], "<U1"),
        ([], r"shape \(0,\)"),
        ([[10**30]], "object"),
        ({"a": 1}, "None"),
        (3, "3; expected the path"),
    ):
        with pytest.raises(InputError, match=f"^x: found .*{found}"):
            from_value(value, "x", Path("."))


@pytest.mark.parametrize("name", ["absent.png", "folder", "a\0b.png", "x" * 300, "\ud800.png", "http://a.b/c.png"])
def test_a_path_without_a_picture_is_an_input_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="no readable image"):
        from_value(name, "x", tmp_path)
    with pytest.raises(InputError, match="no readable image"):
        read_image(tmp_path / name, "x")


def test_backslashes_are_taken_as_windows_means_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    Image.fromarray(BYTES).save(tmp_path / "sub" / "a.png")
    Image.fromarray(255 - BYTES).save(tmp_path / "sub\\b.png")
    assert from_value("sub\\a.png", "x", tmp_path).pixels == grey(BYTES / 255)
    assert from_value("sub\\b.png", "x", tmp_path).pixels == grey(1 - BYTES / 255)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_the_mode_pixels_are_what_numpy_makes_of_them(data: st.DataObject) -> None:
    """Grey and colours of 8 bits, with and without alpha, in lossless containers: the rule, written in NumPy."""
    bands = data.draw(st.sampled_from([1, 2, 3, 4]))
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    array = data.draw(arrays.arrays(np.uint8, (*shape, bands)))
    kind, options = data.draw(st.sampled_from([("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]))
    channels = data.draw(st.sampled_from([None, 1, 3]))
    values = array / 255
    alpha = values[..., -1:] if bands in (2, 4) else np.ones((*shape, 1))
    values = np.moveaxis(values[..., : 1 if bands < 3 else 3] * alpha + (1 - alpha), -1, 0)
    if channels == 1 and len(values) == 3:
        values = np.tensordot([0.299, 0.587, 0.114], values, 1)[None]
    elif channels == 3 and len(values) == 1:
        values = np.repeat(values, 3, axis=0)
    found = decode_image(
        encoded(Image.fromarray(array.squeeze(-1) if bands == 1 else array), kind, **options), "x", channels
    )
    assert found.shape == values.shape
    # Pillow blends and weighs in 8 bits; what is opaque and keeps its channels is exact.
    exact = bands in (1, 3) and (channels is None or channels == bands)
    assert np.abs(found - values).max() <= (1e-7 if exact else 1.6 / 255)


def pictures() -> Iterator[tuple[str, bytes]]:
    """Every mode and depth in every container that can hold it."""
    tiled = Image.fromarray(np.tile(COLOURS, (3, 2, 1)))
    bases = {mode: tiled.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")}
    bases["I;16"], bases["F"] = Image.fromarray(SHORTS), Image.fromarray((BYTES / 255).astype(np.float32))
    options: dict[str, list[dict[str, Any]]] = {
        "PNG": [{}, {"transparency": 3}], "JPEG": [{}, {"progressive": True}], "GIF": [{}, {"transparency": 3}],
        "BMP": [{}], "WEBP": [{}, {"lossless": True}], "PPM": [{}], "JPEG2000": [{}], "TGA": [{}],
        "TIFF": [{"compression": name} for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")],
        "PCX": [{}], "SGI": [{}],
    }  # fmt: skip
    for kind, choices in options.items():
        for mode, image in bases.items():
            for more in choices:
                for frames in ({}, {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_180)]}):
                    if frames and kind not in ("PNG", "GIF", "WEBP", "TIFF"):
                        continue
                    try:
                        yield f"{mode} {kind} {more} {bool(frames)}", encoded(image, kind, **more, **frames)
                    except (OSError, ValueError, KeyError, TypeError):
                        continue  # the container has no such mode
    yield from ((f"{kind}", data) for kind, (data, _) in UNSIGNED.items())


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, how = int(rng.integers(0, max(1, len(changed)))), int(rng.integers(0, 6))
        at = min(at, int(rng.integers(0, 64))) if how % 2 else at  # headers break more than pixels
        if how < 2 and changed:
            changed[at] = int(rng.integers(0, 256))
        elif how == 2:
            del changed[at:]
        elif how == 3:
            changed[at : at + 4] = rng.bytes(4)
        elif how == 4:
            del changed[at : at + int(rng.integers(1, 9))]
        else:
            changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(changed)


def test_no_picture_however_damaged_breaks_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)  # a changed size need not fill the memory
    rng, tried, read = np.random.default_rng(0), 0, 0
    for name, data in pictures():
        for turn in range(20):
            channels = (None, 1, 3)[turn % 3]
            tried += 1
            try:
                found = decode(data if turn < 1 else damaged(data, rng), f"{name} {turn}", channels).pixels
            except InputError as error:
                assert str(error).startswith(f"{name} {turn}: found ") and " at 0x" not in str(error)
                continue
            read += 1
            assert found.dtype == np.float32 and found.ndim == 3 and found.flags.c_contiguous
            assert len(found) == (channels or len(found)) and len(found) in (1, 3)
            assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    assert tried >= 2000 and read > tried / 20
