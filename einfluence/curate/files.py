"""The user's own samples, probes, queries and relations, from files; one clear message for every fault."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from einfluence.curate.builder import KINDS, PROBE_KINDS, CurationBuilder
from einfluence.curate.classes import ImageLimits
from einfluence.curate.formats import misfit
from einfluence.curate.images.rows import IMAGE_FIELDS, ImageRows, as_image_row
from einfluence.curate.records import id_field, lines_of, number_field, read_records, text_field
from einfluence.errors import InputError
from einfluence.samples import Probe, Sample

TEXT_FIELDS = ("id", "prompt", "target")
EQUAL_PROBES = "probes of equal samples"
MORE_FIELDS = ("group", "cluster", "template", "join")


@dataclass(frozen=True)
class Rows:
    """How a row of a samples file becomes a sample of an objective that asks for other than texts and images.

    Args:
        objective: Its name.
        required: Columns that a row must have beside its `id`.
        optional: Columns that it may have beside `group`, `cluster` and `template`.
        read: Place and fields of a row to what is the objective's own in a sample: ``inputs``, ``target`` and, where
            there are classes, ``label`` and a ``domain`` for rows without a `group`, as arguments of
            :class:`einfluence.samples.Sample`. Raises InputError.
    """

    objective: str
    required: tuple[str, ...]
    read: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
    optional: tuple[str, ...] = ()


def build_from_files(
    samples: Path,
    probes: Path | None = None,
    queries: Path | None = None,
    relations: Path | None = None,
    limits: ImageLimits | None = None,
    join: str | None = None,
    rows: Rows | None = None,
) -> CurationBuilder:
    """Reads a user's files into a builder: by default every sample is a probe and a query.

    ``join`` is what stands between prompt and target of rows that do not say it themselves. Without ``rows`` the first
    row says whether the file holds texts or images.

    Raises:
        InputError: Naming file and line of the first fault.
    """
    builder = CurationBuilder(join=join)
    builder.gates.open("samples of equal content")
    if rows and limits and limits.written:
        raise InputError("classes", f"classes for {rows.objective}", "the labels that the base names, and no `classes`")
    found = _own_samples(samples, rows) if rows else _texts_or_images(samples, builder, limits or ImageLimits())
    ids = _keep_samples(found, builder)
    probe_ids = _read_probes(probes, builder, ids) if probes else _each_sample(builder, ids)
    for sample_id in _read_queries(queries, ids) if queries else ids.values():
        builder.query(sample_id)
    if relations:
        _read_relations(relations, builder, probe_ids, ids)
    return builder


def _keep_samples(samples: Iterable[Sample], builder: CurationBuilder) -> dict[str, str]:
    """Fills the builder's samples and returns ``sample_id`` by the user's id."""
    ids: dict[str, str] = {}
    places: dict[str, str] = {}
    for sample in samples:
        where, name = sample.source, sample.name
        if name in ids:
            raise InputError(where, f"the id {name!r} again (first at {places[name]})", "an id that no other row has")
        if sample.sample_id in builder.samples:
            builder.gates.count(
                "samples of equal content", f"{where} {name} = {builder.samples[sample.sample_id].name}"
            )
        ids[name], places[name] = builder.sample(sample), where
    return ids


def _own_samples(path: Path, rows: Rows) -> Iterator[Sample]:
    for where, fields in read_records(path, ("id", *rows.required), (*rows.optional, *MORE_FIELDS[:3])):
        own = dict(rows.read(where, fields))
        domain = text_field(where, fields, "group", own.pop("domain", ""))
        yield Sample(
            name=id_field(where, fields, "id"),
            objective=rows.objective,
            domain=domain,
            cluster=text_field(where, fields, "cluster", ""),
            template=text_field(where, fields, "template") if "template" in fields else None,
            source=where,
            **own,
        )


def _texts_or_images(path: Path, builder: CurationBuilder, limits: ImageLimits) -> Iterator[Sample]:
    known = (*TEXT_FIELDS, *IMAGE_FIELDS[1:], "file_name", *MORE_FIELDS)
    records = [(where, as_image_row(where, fields)) for where, fields in read_records(path, (), known)]
    is_image = _are_images(*records[0])
    if not is_image and limits.written:
        raise InputError("classes", "classes for texts", "`classes` beside `images`, or `samples` that are images")
    images = ImageRows(path.parent, limits, builder.gates)
    for where, fields in records:
        if "id" not in fields:
            raise misfit(where, fields, [], ("id",), known)
        name = id_field(where, fields, "id")
        yield images.sample(where, fields, name) if is_image else _text(where, fields, name)


def _are_images(where: str, fields: Mapping[str, Any]) -> bool:
    if "image" in fields and ("prompt" in fields or "target" in fields):
        raise InputError(where, "both `image` and text", "rows of {id, prompt, target} or of {id, image, label}")
    return "image" in fields or "label" in fields


def _text(where: str, fields: Mapping[str, Any], name: str) -> Sample:
    for key in ("image", "label"):
        if key in fields:
            raise InputError(where, f"`{key}` in a file of texts", f"the fields {', '.join(TEXT_FIELDS)}")
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


def _each_sample(builder: CurationBuilder, ids: Mapping[str, str]) -> dict[str, str]:
    return {name: builder.probe(name, [sample_id]) for name, sample_id in ids.items()}


def _read_probes(path: Path, builder: CurationBuilder, ids: Mapping[str, str]) -> dict[str, str]:
    """Fills the builder's probes and returns ``probe_id`` by the user's id."""
    builder.gates.open(EQUAL_PROBES)
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
        if kind == "sample" and len(members) > 1:
            raise InputError(f"{where} kind", f"'sample' of {len(members)} samples", "'bundle' or 'sequence'")
        probe_id = builder.probe(name, members, kind)
        first = builder.probes[probe_id].name
        builder.gates.count(EQUAL_PROBES, f"{where} {name} = {first}", int(first != name))
        probes[name], places[name] = probe_id, where
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
    found: list[str] = []
    for number, line in lines_of(path):
        name = line if line in ids else line.strip()
        if name:
            found.append(_known(f"{path}:{number}", name, ids, "sample"))
    if not found:
        raise InputError(str(path), "no ids", "a sample id a line")
    return found


def _read_relations(path: Path, builder: CurationBuilder, probes: Mapping[str, str], ids: Mapping[str, str]) -> None:
    places: dict[tuple[str, str], str] = {}
    for where, fields in read_records(path, ("probe", "query"), ("kind", "level", "distance")):
        probe_id = _known(f"{where} probe", id_field(where, fields, "probe"), probes, "probe")
        query_id = _known(f"{where} query", id_field(where, fields, "query"), ids, "sample")
        if query_id not in builder.queries:
            raise InputError(f"{where} query", f"{fields['query']!r}, which is no query", "an id from the queries file")
        pair = (probe_id, query_id)
        if pair in places:
            raise InputError(where, f"this pair again (first at {places[pair]})", "one row for each probe and query")
        kind = fields.get("kind")
        if kind is not None and kind not in KINDS:
            raise InputError(f"{where} kind", f"{kind!r}", f"one of {', '.join(KINDS)}, or nothing")
        kind = _own_kind(where, fields, kind, builder.probes[probe_id], query_id)
        distance = number_field(where, fields, "distance")
        if distance is not None and distance < 0:
            raise InputError(f"{where} distance", f"{distance:g}", "a distance >= 0")
        places[pair] = where
        level = number_field(where, fields, "level")
        if kind is not None or level is not None:
            builder.claim(probe_id, query_id, kind, level)
        if distance is not None:
            builder.given[pair] = distance


def _own_kind(where: str, fields: Mapping[str, Any], kind: str | None, probe: Probe, query_id: str) -> str | None:
    """The kind of a pair, which is ``self`` for a probe's own samples and for no others."""
    own = query_id in probe.members
    if probe.kind == "noisy":
        return kind
    if kind is not None and (kind == "self") != own:
        found = f"{kind!r} for {fields['query']!r}, which is {'a' if own else 'no'} sample of the probe {probe.name!r}"
        raise InputError(f"{where} kind", found, "'self', or nothing" if own else "another kind, or nothing")
    return "self" if own else kind


def _known(where: str, name: str, known: Mapping[str, str], what: str) -> str:
    if name not in known:
        examples = ", ".join(list(known)[:3])
        like = next((one for one in known if _alike(one) == _alike(name)), None)
        fix = ""
        if like is not None:  # two that look alike are told apart by their escapes
            fix = f"There is {ascii(like)}; this is {ascii(name)}: another Unicode normal form, case or blanks"
        raise InputError(where, f"the unknown {what} {name!r}", f"the id of a {what}, such as {examples}", fix)
    return known[name]


def _alike(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
