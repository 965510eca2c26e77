"""The user's lists: which samples are a probe, which are queries, and what is claimed of a pair."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from einfluence.curate.builder import KINDS, PROBE_KINDS, CurationBuilder
from einfluence.curate.records import id_field, lines_of, number_field, read_records, text_field
from einfluence.errors import InputError
from einfluence.samples import Probe

Found = TypeVar("Found")
EQUAL_PROBES = "probes of equal samples"
Ids = Mapping[str, tuple[str, ...]]
"""``sample_id`` by the user's id; several where a row is a chat of several answers."""


def read_probes(path: Path, builder: CurationBuilder, ids: Ids) -> dict[str, str]:
    """Fills the builder's probes and returns ``probe_id`` by the user's id.

    Raises:
        InputError: For a row that is none, with file and line.
    """
    builder.gates.open(EQUAL_PROBES)
    probes: dict[str, str] = {}
    places: dict[str, str] = {}
    chats = {row for row in ids.values() if len(row) > 1}
    for where, fields in read_records(path, ("id", "samples"), ("kind",)):
        name = id_field(where, fields, "id")
        if name in probes:
            raise InputError(where, f"the id {name!r} again (first at {places[name]})", "an id that no other row has")
        known = (_known(f"{where} samples", member, ids, "sample") for member in _names(where, fields["samples"]))
        members = list(dict.fromkeys(chain.from_iterable(known)))
        together = "chat" if tuple(members) in chats else "bundle"
        kind = text_field(where, fields, "kind", "sample" if len(members) == 1 else together)
        if kind not in (*PROBE_KINDS, together):
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


def read_queries(path: Path, ids: Ids) -> list[str]:
    """The ``sample_id`` of each line.

    Raises:
        InputError: For an id that no sample has, and a file without one.
    """
    found: list[str] = []
    for number, line in lines_of(path):
        name = line if line in ids else line.strip()
        if name:
            found += _known(f"{path}:{number}", name, ids, "sample")
    if not found:
        raise InputError(str(path), "no ids", "a sample id a line")
    return found


def read_relations(path: Path, builder: CurationBuilder, probes: Mapping[str, str], ids: Ids) -> None:
    """Claims what the rows say of pairs of a probe and a query.

    Raises:
        InputError: For a row that is none, with file and line.
    """
    places: dict[tuple[str, str], str] = {}
    for where, fields in read_records(path, ("probe", "query"), ("kind", "level", "distance")):
        probe_id = _known(f"{where} probe", id_field(where, fields, "probe"), probes, "probe")
        for query_id in _known(f"{where} query", id_field(where, fields, "query"), ids, "sample"):
            _relate(where, fields, builder, (probe_id, query_id), places)


def _relate(
    where: str,
    fields: Mapping[str, Any],
    builder: CurationBuilder,
    pair: tuple[str, str],
    places: dict[tuple[str, str], str],
) -> None:
    """What a row says of a pair of probe and query; ``places`` are the rows that spoke of pairs before."""
    probe_id, query_id = pair
    if query_id not in builder.queries:
        raise InputError(f"{where} query", f"{fields['query']!r}, which is no query", "an id from the queries file")
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


def _known(where: str, name: str, known: Mapping[str, Found], what: str) -> Found:
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
