"""Ways of spoiling an image, each calibrated in decibels.

The level of a noise is the **noise-to-signal ratio in dB**: 10·log10(mean((noisy − clean)²) / variance(clean)), the
negative of the SNR, so that it grows with damage. −20 dB is barely visible, 0 dB means that the change carries as
much power as the picture itself. The family's own strength is searched until the *achieved* ratio, after clipping
to [0, 1], is the level. Families whose damage is bounded (a blur ends in a flat grey, 0 dB) give their nearest beyond
it, and the curation report counts those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from einfluence.keys import content_hash

Pixels = npt.NDArray[np.float32]
TOLERANCE = 0.1  # dB
GRID = 24  # strengths tried to bracket a level, as damage need not grow evenly (rotation, shift)


def ratio_db(clean: Pixels, noisy: Pixels) -> float:
    """Noise-to-signal ratio in dB; −inf where nothing changed, +inf for a change of a flat image."""
    noise = float(np.mean((noisy.astype(np.float64) - clean) ** 2))
    signal = float(np.var(clean.astype(np.float64)))
    if noise == 0:
        return float("-inf")
    return float("inf") if signal == 0 else 10 * float(np.log10(noise / signal))


def add_noise(pixels: Pixels, sample_id: str, family: str, level: float, seed: int) -> tuple[Pixels, float]:
    """Spoils an image.

    The random numbers depend on ``(sample_id, family, level, seed)`` alone: not on the order of images, nor on
    which others are made.

    Args:
        pixels: (channels, height, width), values in [0, 1].
        sample_id: Id of the clean image.
        family: One of FAMILIES.
        level: Wanted noise-to-signal ratio in dB.
        seed: The part's seed.

    Returns:
        The noisy image, values in [0, 1], and the ratio that was reached, in dB.
    """
    spoil = FAMILIES[family]
    key = int(content_hash((sample_id, family, float(level), seed)), 16)

    def at(strength: float) -> Pixels:
        noisy = spoil(pixels, strength, np.random.default_rng(key))
        return np.clip(noisy, 0, 1).astype(np.float32)

    low, high, best = 0.0, None, (float("inf"), pixels, float("-inf"))
    for strength in (np.arange(1, GRID + 1) / GRID) ** 2:
        noisy = at(float(strength))
        reached = ratio_db(pixels, noisy)
        best = min(best, (abs(reached - level), noisy, reached), key=lambda trial: trial[0])
        if reached >= level:
            high = float(strength)
            break
        low = float(strength)
    for _ in range(24):
        if high is None or best[0] <= TOLERANCE:
            break
        middle = (low + high) / 2
        noisy = at(middle)
        reached = ratio_db(pixels, noisy)
        best = min(best, (abs(reached - level), noisy, reached), key=lambda trial: trial[0])
        low, high = (low, middle) if reached >= level else (middle, high)
    return best[1], best[2]


def gaussian(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Adds normal noise with a standard deviation of up to 4."""
    return pixels + 4 * strength * rng.standard_normal(pixels.shape)


def shot(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Counts photons: Poisson of the brightness, from 10,000 photons down to 0.05 at full white."""
    photons = 10_000 * (0.05 / 10_000) ** strength
    return rng.poisson(pixels.astype(np.float64) * photons) / photons


def salt_pepper(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Sets a share of the pixels to black or white, all channels of a pixel alike; the last one in part."""
    size = pixels.shape[1:]
    white = (rng.random(size) < 0.5).astype(np.float32)
    share = _share(size, strength, rng)
    return pixels * (1 - share) + white * share


def _share(size: tuple[int, ...], strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """1 for a share of the pixels, drawn at random, a fraction for the last of them, 0 for the others."""
    count = size[0] * size[1]
    ranks = rng.permutation(count).reshape(size)
    return np.clip(strength * count - ranks, 0, 1)


def blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Blurs with a Gaussian of a standard deviation of up to the longer side."""
    from scipy.ndimage import gaussian_filter

    sigma = strength * max(pixels.shape[1:])
    return np.asarray(gaussian_filter(pixels, (0, sigma, sigma), mode="nearest"))


def occlusion(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Covers a rectangle of the image's proportions with mid-grey, soft by a fraction of a pixel at its edges."""
    _, height, width = pixels.shape
    centre = rng.random(2) * (height, width)
    rows, columns = (
        np.clip(strength * size - np.abs(np.arange(size) + 0.5 - middle) + 0.5, 0, 1)
        for size, middle in zip((height, width), centre, strict=True)
    )
    cover = rows[:, None] * columns[None, :]
    return pixels * (1 - cover) + 0.5 * cover


def contrast(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Draws every value towards the image's mean."""
    return pixels + strength * (pixels.mean() - pixels)


def shift(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Moves the image by up to half its longer side in a random direction; black comes in."""
    from scipy.ndimage import shift as move

    angle = rng.random() * 2 * np.pi
    far = strength * max(pixels.shape[1:]) / 2
    return np.asarray(move(pixels, (0, far * np.sin(angle), far * np.cos(angle)), order=1, mode="grid-constant"))


def rotate(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Turns the image about its centre by up to 180 degrees, either way; black comes in."""
    from scipy.ndimage import rotate as turn

    degrees = 180 * strength * (1 if rng.random() < 0.5 else -1)
    return np.asarray(turn(pixels, degrees, axes=(2, 1), reshape=False, order=1, mode="grid-constant"))


def pixel_shuffle(pixels: Pixels, strength: float, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Puts other pixels of the image in the place of a share of them; at full strength only the histogram stays."""
    flat = pixels.reshape(len(pixels), -1)
    shuffled = flat[:, rng.permutation(flat.shape[1])].reshape(pixels.shape)
    share = _share(pixels.shape[1:], strength, rng)
    return pixels * (1 - share) + shuffled * share


FAMILIES: dict[str, Callable[[Pixels, float, np.random.Generator], npt.NDArray[Any]]] = {
    "gaussian": gaussian,
    "shot": shot,
    "salt_pepper": salt_pepper,
    "blur": blur,
    "occlusion": occlusion,
    "contrast": contrast,
    "shift": shift,
    "rotate": rotate,
    "pixel_shuffle": pixel_shuffle,
}
UNITS: dict[str, str] = {**dict.fromkeys(FAMILIES, "dB"), "label_flip": ""}
"""The unit of ``samples.level`` by ``samples.noise``; a wrong label has none."""
