"""The user's own samples from files, and a curation of them; one clear message for every fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

from einfluence.curate.builder import CurationBuilder, Gates
from einfluence.curate.classes import ImageLimits
from einfluence.curate.columns import misfit
from einfluence.curate.images.rows import IMAGE_FIELDS, ImageRows, as_image_row
from einfluence.curate.lists import Ids, read_probes, read_queries, read_relations
from einfluence.curate.records import Record, text_field
from einfluence.curate.rows.content import ChatWriter
from einfluence.curate.rows.foreign import another_shape, foreign, no_shape, too_many
from einfluence.curate.rows.samples import Made, Names, TextRows
from einfluence.curate.rows.shapes import COMMON, shape_of
from einfluence.curate.rows.table import Table, leave_out
from einfluence.errors import InputError
from einfluence.samples import Sample

EQUAL = "samples of equal content"
HELD_OUT = "held out and trained on"
SAME_ANSWERS = "pairs of one answer twice (no sibling)"
REJECTED = "rejected answers (no queries of a training set)"


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
        sources: By the name of a published data set, how its items become samples of this objective; see
            :data:`einfluence.curate.sources.RowsOfSource`.
        files: By the ending of a file that is no table of ours, how it is read: file, `fields` and gates to rows.
        together: Refuses samples of a part that do not go together (InputError).
    """

    objective: str
    required: tuple[str, ...]
    read: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
    optional: tuple[str, ...] = ()
    sources: Mapping[str, Callable[[Any, Any], Iterable[Any]]] = field(default_factory=dict[str, Any])
    files: Mapping[str, Callable[[Path, Mapping[str, str], Any], Sequence[Record]]] = field(
        default_factory=dict[str, Any]
    )
    together: Callable[[Iterable[Sample]], None] | None = None

    def of_table(self, table: Table, gates: Gates) -> Sequence[Record]:
        """The rows of a table, whatever file they are in."""
        place = table.place
        own = self.files.get(place.suffix.lower()) if isinstance(place, Path) and not place.is_dir() else None
        return own(cast("Path", place), table.fields, gates) if own else table.rows()


@dataclass(frozen=True)
class Reading:
    """How the rows of a part become samples.

    Args:
        limits: What the base says of images and their classes.
        join: What the part puts between prompt and target.
        rows: How rows are read for a base that takes neither texts to be continued nor images; without it the first
            row says whether the table holds texts or images.
        chat: Whether texts are written as turns of a chat.
        template: A chat template instead of the base's.
        write: Writes a chat as the base reads it.
        in_a_set: Whether they are a training set. Queries beside it count as held out, so rejected answers are none
            unless the part names them.
    """

    limits: ImageLimits = field(default_factory=ImageLimits)
    join: str | None = None
    rows: Rows | None = None
    chat: bool = False
    template: str | None = None
    write: ChatWriter | None = None
    in_a_set: bool = False


def build_from_files(
    samples: Table,
    probes: Path | None = None,
    queries: Path | None = None,
    relations: Path | None = None,
    reading: Reading | None = None,
    held_out: Table | None = None,
    then: Table | None = None,
) -> CurationBuilder:
    """Reads a user's files into a builder: by default every row is a probe, and every sample a query.

    Rows that are ``held_out`` are queries and no probes; those of ``then`` neither, but the builder's ``later``.

    Raises:
        InputError: Naming file and line of the first fault.
    """
    reading = reading or Reading()
    builder = CurationBuilder(join=reading.join)
    builder.gates.open(EQUAL)
    if reading.rows and reading.limits.written:
        found = f"classes for {reading.rows.objective}"
        raise InputError("classes", found, "the labels that the base names, and no `classes`")

    def read(table: Table) -> Iterator[Made]:
        rows = reading.rows
        return _own_samples(table, rows, builder) if rows else _texts_or_images(table, builder, reading)

    rows = list(read(samples))
    ids = _keep_samples(rows, builder)
    probe_ids = read_probes(probes, builder, ids) if probes else _each_row(builder, rows, ids)
    if then:
        _keep_later(read(then), builder, ids)
    outside = list(read(held_out)) if held_out else []
    if held_out:
        ids = {**ids, **_keep_held_out(outside, builder, ids)}
    if reading.rows and reading.rows.together:
        reading.rows.together(builder.samples.values())
    for sample_id in read_queries(queries, ids) if queries else _by_default([*rows, *outside], builder, reading):
        builder.query(sample_id)
    if relations:
        read_relations(relations, builder, probe_ids, ids)
    _claim_siblings(builder, rows, ids)
    return builder


def _by_default(rows: Iterable[Made], builder: CurationBuilder, reading: Reading) -> Iterator[str]:
    """Every sample; of a training set without the rejected answers."""
    for row in rows:
        yield from (sample.sample_id for sample in row.samples)
        if not reading.in_a_set:
            yield from (sample.sample_id for sample in row.others)
        elif row.others:
            builder.gates.count(REJECTED, f"{row.others[0].source} {row.name}")


def _keep_samples(rows: Iterable[Made], builder: CurationBuilder) -> Ids:
    """Fills the builder's samples and returns them by the names of rows and of samples."""
    ids: dict[str, tuple[str, ...]] = {}
    places: dict[str, str] = {}
    for row in rows:
        where = row.samples[0].source
        kept = {sample.name: (_keep(sample, builder),) for sample in (*row.samples, *row.others)}
        whole = tuple(kept[sample.name][0] for sample in row.samples)
        if row.words:
            builder.words |= dict.fromkeys(chain.from_iterable(kept.values()), row.words)
        if row.chat:
            builder.chats.setdefault(whole, row.chat)
            for answer, sample_id in zip(row.chat.answers, whole, strict=True):
                builder.chats.setdefault((sample_id,), replace(row.chat, answers=(answer,)))
        for name, found in {row.name: whole, **kept}.items():
            if name in ids:
                found = f"the id {name!r} again (first at {places[name]})"
                raise InputError(where, found, "an id that no other row has")
            ids[name], places[name] = found, where
    return ids


def _keep_later(rows: Iterable[Made], builder: CurationBuilder, ids: Ids) -> None:
    """Fills the builder with the samples of a second stage, which may be trained on in the first as well."""
    for row in rows:
        for sample in row.samples:
            if sample.name in ids and ids[sample.name] != (sample.sample_id,):
                raise InputError(sample.source, f"the id {sample.name!r} again", "an id that no other sample has")
            sample_id = builder.sample(sample)
            if sample_id in builder.later:
                fix = "leave the others out, or raise `epochs`"
                raise InputError(sample.source, "a sample of the second stage again", "each sample once", fix)
            builder.later[sample_id] = None
            if row.words:
                builder.words.setdefault(sample_id, row.words)


def _keep_held_out(rows: Iterable[Made], builder: CurationBuilder, trained: Ids) -> Ids:
    """As :func:`_keep_samples`, beside what is trained on; counts the samples that are trained on as well."""
    builder.gates.open(HELD_OUT)
    ids: dict[str, tuple[str, ...]] = {}
    for row in rows:
        for sample in (*row.samples, *row.others):
            name, known = sample.name, sample.sample_id in builder.samples
            if name in ids or (name in trained and trained[name] != (sample.sample_id,)):
                raise InputError(
                    sample.source, f"the id {name!r} again", "an id that no other sample has, held out or not"
                )
            if known:
                builder.gates.count(HELD_OUT, f"{sample.source} {name} = {builder.samples[sample.sample_id].name}")
            ids[name] = (builder.sample(sample),)
            if row.words:
                builder.words.setdefault(sample.sample_id, row.words)
    return ids


def _keep(sample: Sample, builder: CurationBuilder) -> str:
    if sample.sample_id in builder.samples:
        first = builder.samples[sample.sample_id].name
        builder.gates.count(EQUAL, f"{sample.source} {sample.name} = {first}")
    return builder.sample(sample)


def _own_samples(table: Table, rows: Rows, builder: CurationBuilder) -> Iterator[Made]:
    known = (*rows.required, *rows.optional, *COMMON)
    found, others = leave_out(rows.of_table(table, builder.gates), known, table.extra, builder.gates)
    names = Names()
    for where, fields in found:
        lacking = [key for key in rows.required if key not in fields]
        if lacking or others:
            raise misfit(where, fields, others, rows.required, (*rows.optional, *COMMON), samples=True)
        own = dict(rows.read(where, fields))
        domain = text_field(where, fields, "group", own.pop("domain", ""))
        sample = Sample(
            name="",
            objective=rows.objective,
            domain=domain,
            cluster=text_field(where, fields, "cluster", ""),
            template=text_field(where, fields, "template") if "template" in fields else None,
            source=where,
            **own,
        )
        yield _named(sample, names.of(where, fields, sample.sample_id))


def _named(sample: Sample, name: str) -> Made:
    return Made(name, (replace(sample, name=name),))


def _texts_or_images(table: Table, builder: CurationBuilder, reading: Reading) -> Iterator[Made]:
    rows = [(where, as_image_row(where, fields)) for where, fields in table.rows()]
    where, first = rows[0]
    shape = shape_of(first)
    if "image" in first and ("prompt" in first or "target" in first):
        raise InputError(where, "both `image` and text", "rows of {prompt, target}, say, or of {image, label}")
    if "image" in first or ("label" in first and shape is None and not foreign(first)):
        yield from _images(table, rows, builder, reading.limits)
        return
    if reading.limits.written:
        raise InputError("classes", "classes for texts", "`classes` beside `images`, or `samples` that are images")
    if shape is None:
        raise no_shape(where, first)
    for where, fields in rows:
        if not set(shape.needs) <= fields.keys():
            raise another_shape(where, fields, shape)
    rows, others = leave_out(rows, shape.columns, table.extra, builder.gates)
    for where, fields in rows:
        if not set(shape.columns) >= fields.keys():
            raise too_many(where, fields, others, shape)
    texts = TextRows(builder.gates, reading.join, reading.chat, reading.template, reading.write)
    yield from texts.read(shape, rows)


def _images(table: Table, rows: list[Record], builder: CurationBuilder, limits: ImageLimits) -> Iterator[Made]:
    known = (*IMAGE_FIELDS, "prompt", "target", "join", *COMMON)  # those of texts are refused by a message of their own
    rows, others = leave_out(rows, known, table.extra, builder.gates)
    images, names = ImageRows(table.folder, limits, builder.gates), Names()
    for where, fields in rows:
        if any(key in fields for key in others):
            raise misfit(where, fields, others, IMAGE_FIELDS[1:], COMMON, samples=True)
        sample = images.sample(where, fields, "")
        yield _named(sample, names.of(where, fields, sample.sample_id))


def _each_row(builder: CurationBuilder, rows: Sequence[Made], ids: Ids) -> dict[str, str]:
    """A probe of each row: of all its answers where it is a chat of several."""
    return {
        row.name: builder.probe(row.name, ids[row.name], "sample" if len(row.samples) == 1 else "chat") for row in rows
    }


def _claim_siblings(builder: CurationBuilder, rows: Sequence[Made], ids: Ids) -> None:
    """Of every probe of a preferred answer, the rejected one is a `sibling`, if nothing else is claimed of the two."""
    if not any(row.others for row in rows):
        return
    builder.gates.open(SAME_ANSWERS)
    probes = {probe.members: probe_id for probe_id, probe in builder.probes.items()}
    for row in rows:
        for other in row.others:
            (sample_id,) = ids[other.name]
            if sample_id in ids[row.name]:
                builder.gates.count(SAME_ANSWERS, f"{other.source} {row.name}")
            elif ids[row.name] in probes and sample_id in builder.queries:
                builder.claim(probes[ids[row.name]], sample_id, "sibling")
