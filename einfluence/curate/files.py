"""The user's own samples, probes, queries and relations, from files; one clear message for every fault."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from einfluence.curate.draft import KINDS, PROBE_KINDS, Draft
from einfluence.curate.pictures import Pixels, from_value
from einfluence.curate.records import id_field, lines_of, number_field, read_records, text_field
from einfluence.errors import InputError
from einfluence.samples import Sample

TEXT_FIELDS = ("id", "prompt", "target")
IMAGE_FIELDS = ("id", "image", "label")
MORE_FIELDS = ("group", "cluster", "template", "join")


@dataclass(frozen=True)
class ImageLimits:
    """What the base takes: its classes and (channels, height, width); None where it is not known."""

    n_classes: int | None = None
    shape: tuple[int, int, int] | None = None


def draft_from_files(
    samples: Path,
    probes: Path | None = None,
    queries: Path | None = None,
    relations: Path | None = None,
    limits: ImageLimits | None = None,
    join: str | None = None,
) -> Draft:
    """Reads a user's files into a draft: by default every sample is a probe and a query.

    ``join`` is what stands between prompt and target of rows that do not say it themselves.

    Raises:
        InputError: Naming file and line of the first fault.
    """
    draft = Draft(join=join)
    draft.gates.open("samples of equal content")
    ids = _read_samples(samples, draft, limits or ImageLimits())
    probe_ids = _read_probes(probes, draft, ids) if probes else _each_sample(draft, ids)
    for sample_id in _read_queries(queries, ids) if queries else ids.values():
        draft.query(sample_id)
    if relations:
        _read_relations(relations, draft, probe_ids, ids)
    return draft


def _read_samples(path: Path, draft: Draft, limits: ImageLimits) -> dict[str, str]:
    """Fills the draft's samples and returns ``sample_id`` by the user's id."""
    records = read_records(path, ("id",), (*TEXT_FIELDS[1:], *IMAGE_FIELDS[1:], *MORE_FIELDS))
    is_image = _are_images(*records[0])
    required = IMAGE_FIELDS if is_image else TEXT_FIELDS
    ids: dict[str, str] = {}
    places: dict[str, str] = {}
    shape = limits.shape
    for where, fields in records:
        name = id_field(where, fields, "id")
        if name in ids:
            raise InputError(where, f"the id {name!r} again (first at {places[name]})", "an id that no other row has")
        if is_image:
            sample = _image(where, fields, name, path.parent, ImageLimits(limits.n_classes, shape))
            shape = shape or cast("tuple[int, int, int]", cast("Pixels", sample.pixels).shape)
        else:
            sample = _text(where, fields, name, required)
        if sample.sample_id in draft.samples:
            draft.gates.count("samples of equal content", f"{where} {name} = {draft.samples[sample.sample_id].name}")
        ids[name], places[name] = draft.sample(sample), where
    return ids


def _are_images(where: str, fields: Mapping[str, Any]) -> bool:
    if "image" in fields and ("prompt" in fields or "target" in fields):
        raise InputError(where, "both `image` and text", "rows of {id, prompt, target} or of {id, image, label}")
    return "image" in fields or "label" in fields


def _text(where: str, fields: Mapping[str, Any], name: str, required: tuple[str, ...]) -> Sample:
    for key in ("image", "label"):
        if key in fields:
            raise InputError(where, f"`{key}` in a file of texts", f"the fields {', '.join(required)}")
    target = text_field(where, fields, "target", "")
    if not target.strip():
        raise InputError(f"{where} target", "an empty target", "text, as the loss is over the target's tokens")
    group = text_field(where, fields, "group", "")
    return Sample(
        name=name,
        prompt=text_field(where, fields, "prompt", ""),
        target=target,
        domain=group,
        cluster=text_field(where, fields, "cluster", ""),
        template=text_field(where, fields, "template") if "template" in fields else None,
        join=text_field(where, fields, "join") if "join" in fields else None,
        source=where,
    )


def _image(where: str, fields: Mapping[str, Any], name: str, folder: Path, limits: ImageLimits) -> Sample:
    for key in ("prompt", "target"):
        if key in fields:
            raise InputError(where, f"`{key}` in a file of images", f"the fields {', '.join(IMAGE_FIELDS)}")
    if "image" not in fields:
        raise InputError(where, "no `image`", f"the fields {', '.join(IMAGE_FIELDS)}")
    if "label" not in fields:
        raise InputError(where, "no `label`", f"the fields {', '.join(IMAGE_FIELDS)}")
    label = check_label(f"{where} label", number_field(where, fields, "label", int), limits.n_classes)
    pixels = from_value(fields["image"], f"{where} image", folder, limits.shape[0] if limits.shape else None).pixels
    check_shape(f"{where} image", pixels, limits.shape)
    return Sample(
        name=name,
        pixels=pixels,
        label=label,
        domain=text_field(where, fields, "group", str(label)),
        cluster=text_field(where, fields, "cluster", ""),
        source=where,
    )


def check_label(where: str, label: float | None, n_classes: int | None) -> int:
    """The label as an int, if it is one of the base's classes."""
    top = n_classes if n_classes is not None else math.inf
    if label is None or not 0 <= label < top or label > 2**31 - 1:
        classes = f"a class from 0 to {n_classes - 1}" if n_classes is not None else "a class index from 0"
        raise InputError(where, f"the label {label!r}", classes)
    return int(label)


def check_shape(where: str, pixels: Pixels, shape: tuple[int, int, int] | None) -> None:
    """Raises InputError unless the image has the base's (or the first image's) shape."""
    if shape is not None and pixels.shape != shape:
        found, expected = (" x ".join(str(size) for size in sizes) for sizes in (pixels.shape, shape))
        raise InputError(where, f"an image of {found} (channels x height x width)", expected)


def _each_sample(draft: Draft, ids: Mapping[str, str]) -> dict[str, str]:
    return {name: draft.probe(name, [sample_id]) for name, sample_id in ids.items()}


def _read_probes(path: Path, draft: Draft, ids: Mapping[str, str]) -> dict[str, str]:
    """Fills the draft's probes and returns ``probe_id`` by the user's id."""
    probes: dict[str, str] = {}
    places: dict[str, str] = {}
    for where, fields in read_records(path, ("id", "samples"), ("kind",)):
        name = id_field(where, fields, "id")
        if name in probes:
            raise InputError(where, f"the id {name!r} again (first at {places[name]})", "an id that no other row has")
        members = [_known(f"{where} samples", member, ids, "sample") for member in _names(where, fields["samples"])]
        kind = text_field(where, fields, "kind", "sample" if len(members) == 1 else "bundle")
        if kind not in PROBE_KINDS:
            raise InputError(f"{where} kind", f"{kind!r}", f"one of {', '.join(PROBE_KINDS)}")
        probes[name], places[name] = draft.probe(name, members, kind), where
    return probes


def _names(where: str, value: object) -> list[str]:
    """Ids in a list, or in one cell of a CSV: a JSON list, or separated by semicolons."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise InputError(f"{where} samples", f"{value!r:.60}", "a list of sample ids") from error
        else:
            value = [name.strip() for name in value.split(";") if name.strip()]
    if not isinstance(value, list) or not value:
        raise InputError(f"{where} samples", f"{value!r:.60}", "a list of at least one sample id")
    names = cast("list[object]", value)
    if len(set(map(str, names))) != len(names):
        raise InputError(f"{where} samples", "a sample twice in one probe", "different samples")
    return [str(name) for name in names]


def _read_queries(path: Path, ids: Mapping[str, str]) -> list[str]:
    found = [_known(f"{path}:{number}", line.strip(), ids, "sample") for number, line in lines_of(path) if line.strip()]
    if not found:
        raise InputError(str(path), "no ids", "a sample id a line")
    return found


def _read_relations(path: Path, draft: Draft, probes: Mapping[str, str], ids: Mapping[str, str]) -> None:
    places: dict[tuple[str, str], str] = {}
    for where, fields in read_records(path, ("probe", "query"), ("kind", "level", "distance")):
        probe_id = _known(f"{where} probe", id_field(where, fields, "probe"), probes, "probe")
        query_id = _known(f"{where} query", id_field(where, fields, "query"), ids, "sample")
        if query_id not in draft.queries:
            raise InputError(f"{where} query", f"{fields['query']!r}, which is no query", "an id from the queries file")
        pair = (probe_id, query_id)
        if pair in places:
            raise InputError(where, f"this pair again (first at {places[pair]})", "one row for each probe and query")
        kind = fields.get("kind")
        if kind is not None and kind not in KINDS:
            raise InputError(f"{where} kind", f"{kind!r}", f"one of {', '.join(KINDS)}, or nothing")
        distance = number_field(where, fields, "distance")
        if distance is not None and distance < 0:
            raise InputError(f"{where} distance", f"{distance:g}", "a distance >= 0")
        places[pair] = where
        level = number_field(where, fields, "level")
        if kind is not None or level is not None:
            draft.claim(probe_id, query_id, kind, level)
        if distance is not None:
            draft.given[pair] = distance


def _known(where: str, name: str, known: Mapping[str, str], what: str) -> str:
    if name not in known:
        examples = ", ".join(list(known)[:3])
        raise InputError(where, f"the unknown {what} {name!r}", f"the id of a {what}, such as {examples}")
    return known[name]
