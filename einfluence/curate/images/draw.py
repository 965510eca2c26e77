"""Image probes and queries by class, with noisy and mislabelled versions of the probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from einfluence.curate.builder import KINDS, Codes, CurationBuilder, Ints
from einfluence.curate.classes import ImageLimits, check_shape
from einfluence.curate.images.corrupt import FAMILIES, add_noise
from einfluence.curate.images.decode import Pixels
from einfluence.curate.images.rows import FRAMES, TwoClasses
from einfluence.curate.images.sources import Picture, load_pictures
from einfluence.curate.versions import LABEL_FLIP, add_noisy_probe, version, wrong_label
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Sample
from einfluence.spec import Images, Spec

MISSED = "noise level missed by over 0.5 dB (nearest taken)"
IMBALANCE = "class imbalance (fewer queries than the others)"
UNREADABLE = "images that cannot be read"


@dataclass(frozen=True)
class ImagesBuilder:
    """The curation and the classes of its probes and queries, for the kinds that classes decide."""

    builder: CurationBuilder

    def default_kind(self, probes: Ints, queries: Ints) -> Codes:
        """``neighbour`` within a class, ``unrelated`` between classes; nothing of what is noisy or mislabelled."""
        samples = self.builder.samples
        members = [samples[probe.members[0]] for probe in self.builder.probes.values()]
        own = np.array([-1 if sample.noise else sample.label for sample in members])
        seen = np.array([-1 if samples[key].noise else samples[key].label for key in self.builder.queries])
        same = own[probes] == seen[queries]
        code = np.where(same, KINDS.index("neighbour"), KINDS.index("unrelated"))
        return np.where((own[probes] < 0) | (seen[queries] < 0), -1, code).astype(np.int8)


def build_images(images: Images, spec: Spec, limits: ImageLimits) -> ImagesBuilder:
    """Draws clean probes and queries balanced over classes, and makes the noisy versions.

    Every clean probe is a query as well; the rest of the queries are other images. A noisy image is its own probe;
    towards its clean image it is ``noisy``, with the level. An image that cannot be read is no query; drawn as a
    probe, it stays one that will fail.

    Raises:
        InputError: For an unknown noise family, too few images, none that can be read, or what the source finds wrong.
    """
    _check_noise(images)
    builder = CurationBuilder()
    pictures = load_pictures(images, spec, limits, builder.gates)
    builder.gates.open("images of equal content", FRAMES, UNREADABLE, IMBALANCE, MISSED)
    order = _balanced(pictures, images.queries, images.seed)
    if len(order) < max(images.queries, images.probes):
        wanted = max(images.queries, images.probes)
        found = f"{len(order)} images" + (f" in split {images.split!r}" if images.split else "")
        raise InputError(
            "images", found, f"at least {wanted} (queries, clean probes among them)", "ask for fewer queries"
        )
    _count_classes(builder, pictures, order)
    shape, classes = limits.shape, {picture.label: picture.label_name for picture in pictures}
    if images.label_flip and len(classes) == 1:
        raise InputError("images.label_flip", "true, with images of one class", "two classes or more")
    probes, seen = dict[str, Pixels](), TwoClasses(builder.gates)
    for place, index in enumerate(order):
        picture = pictures[index]
        try:
            decoded = picture.load()
        except InputError as error:
            builder.gates.count(UNREADABLE, f"{error.where}: {error.found}")
            if place < images.probes:
                builder.probe(picture.name, [builder.sample(_sample(picture, None))])
            continue
        pixels = limits.fitted(decoded.pixels)
        check_shape(picture.where, pixels.shape, shape)
        if decoded.more:
            builder.gates.count(FRAMES, picture.where)
        shape = shape or (pixels.shape[0], pixels.shape[1], pixels.shape[2])
        sample = _sample(picture, pixels)
        if sample.sample_id in builder.samples:
            builder.gates.count(
                "images of equal content", f"{picture.where} = {builder.samples[sample.sample_id].name}"
            )
        seen.see(picture.where, pixels, picture.label)
        key = builder.query(builder.sample(sample))
        if place < images.probes:
            builder.probe(picture.name, [key])
            probes.setdefault(key, pixels)
    if not builder.queries:
        count, example = builder.gates.rows[UNREADABLE]
        raise InputError(
            "images", f"{count} images, none of which can be read; {example}", "images such as PNG or JPEG"
        )
    for key, pixels in probes.items():
        _spoil(builder, builder.samples[key], pixels, images, classes)
    return ImagesBuilder(builder)


def _sample(picture: Picture, pixels: Pixels | None) -> Sample:
    return Sample(
        name=picture.name,
        pixels=pixels,
        unreadable=pixels is None,
        label=picture.label,
        label_name=picture.label_name,
        domain=picture.domain,
        source=picture.where,
    )


def _check_noise(images: Images) -> None:
    for family, levels in images.noise.items():
        if family == "label_flip":
            raise InputError(
                "images.noise", "label_flip", "a noise of pixels", "write `label_flip: true` beside `noise`"
            )
        if family not in FAMILIES:
            raise InputError("images.noise", f"{family!r}", f"one of {', '.join(FAMILIES)}")
        if len(set(levels)) != len(levels) or not levels:
            raise InputError(f"images.noise.{family}", f"{list(levels)}", "different levels in dB, e.g. [-15, -10, -5]")
    if images.queries < images.probes:
        raise InputError(
            "images.queries", str(images.queries), f"at least {images.probes}, as the probes are queries too"
        )


def _balanced(pictures: Sequence[Picture], count: int, seed: int) -> list[int]:
    """Rows in rounds over the classes; within a class by a hash of name and seed, whatever the order of files."""
    ranks = [content_hash((picture.key, picture.label, seed)) for picture in pictures]
    place: Counter[int] = Counter()
    rounds: npt.NDArray[np.int64] = np.zeros(len(pictures), np.int64)
    for index in sorted(range(len(pictures)), key=lambda row: ranks[row]):
        rounds[index] = place[pictures[index].label]
        place[pictures[index].label] += 1
    order = sorted(range(len(pictures)), key=lambda row: (rounds[row], ranks[row]))
    return order[:count]


def _count_classes(builder: CurationBuilder, pictures: Sequence[Picture], order: Sequence[int]) -> None:
    found = Counter(pictures[index].label for index in order)
    most = max(found.values(), default=0)
    for label, name in sorted({(picture.label, picture.domain) for picture in pictures}):
        if found[label] < 0.8 * most and most - found[label] > 1:
            builder.gates.count(IMBALANCE, f"class {name}: {found[label]} of {most}")


def _spoil(
    builder: CurationBuilder, clean: Sample, own: Pixels, images: Images, classes: Mapping[int, str | None]
) -> None:
    """The noisy and the mislabelled probes of a clean image, whose pixels are ``own``."""
    for family, levels in images.noise.items():
        for level in levels:
            pixels, reached = add_noise(own, clean.sample_id, family, level, images.seed)
            if abs(reached - level) > 0.5:
                builder.gates.count(MISSED, f"{clean.name} {family} {level:g} dB: {reached:.1f} dB")
            add_noisy_probe(builder, version(clean, replace(clean, pixels=pixels), family, level))
    if images.label_flip and clean.label is not None:
        label = wrong_label(clean.sample_id, clean.label, sorted(classes), images.seed)
        flipped = replace(clean, label=label, label_name=classes[label])
        add_noisy_probe(builder, version(clean, flipped, LABEL_FLIP, 1.0))
