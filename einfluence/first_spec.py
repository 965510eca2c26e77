"""A first spec for a user's own table and base, written once the two are known to fit."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from einfluence.curate import curate
from einfluence.curate.builder import Gates
from einfluence.curate.columns import second_of
from einfluence.curate.files import Rows
from einfluence.curate.images.rows import IMAGE_FIELDS
from einfluence.curate.rows.chats import is_chat
from einfluence.curate.rows.foreign import foreign
from einfluence.curate.rows.shapes import COMMON, shape_of
from einfluence.curate.rows.table import Table, place_of
from einfluence.embedded import data_folder
from einfluence.errors import InputError
from einfluence.inputs import part_base, reader_of
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.samples import Curated
from einfluence.session import Session
from einfluence.spec import Part, Spec, load_spec
from einfluence.store.curations import sample_rows

PROBES, QUERIES = 32, 200
"""How many a first run has, of a table of more rows."""
FILES = ("spec.yaml", "probes.jsonl", "queries.txt")


@dataclass(frozen=True)
class FirstSpec:
    """What was written.

    Args:
        files: The files, the spec first.
        found: What the table holds, in words.
    """

    files: tuple[Path, ...]
    found: str


def write_first_spec(
    folder: Path,
    samples: str,
    base: str,
    session: Session,
    chat_template: Path | None = None,
    fields: Mapping[str, str] | None = None,
) -> FirstSpec:
    """Writes a spec that measures a table with a base, and probes and queries where the table has many rows.

    Args:
        folder: Where to.
        samples: The table, as `samples` of a part names it, from the working directory.
        base: The base, as a part names it, from the working directory.
        session: Of this process.
        chat_template: A chat template for a base that has none.
        fields: The table's columns that have another name than here: theirs by ours.

    Raises:
        InputError: When files are there already, or base and table cannot be used or do not fit each other.
    """
    there = next((folder / name for name in FILES if (folder / name).exists()), None)
    if there is not None:
        raise InputError(str(there), "a file that is there already", "a folder without one", "name another")
    place = place_of(samples, Path())

    def seen_from(origin: Path) -> dict[str, str | None]:
        return {
            "base": _from(origin, base) if Path(base).expanduser().is_dir() else base,
            "samples": samples if isinstance(place, str) else _from(origin, samples),
            "chat_template": None if chat_template is None else _from(origin, str(chat_template)),
        }

    part = Part.model_validate({"fields": dict(fields or {}), **seen_from(Path())})
    spec = Spec(parts=(part,), folder=Path())  # what is refused leaves no folder behind
    loaded = session.base(part_base(spec, part), part.trust_remote_code)
    about = _described(Table(place, part.fields), loaded, loaded.objective.curation().get("rows"))
    part = part.model_copy(update={"extra": "drop" if about.extra else "refuse", "chat": about.asks})
    few = _few(_checked(part, spec, loaded))
    part = part.model_copy(update=seen_from(folder))
    text = _text(part, Path(samples.partition(":")[0]).stem, about, loaded, few)
    contents = dict(zip(FILES, (text, *(few or ())), strict=False))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    load_spec(folder / FILES[0])
    return FirstSpec(tuple(folder / name for name in contents), about.found)


@dataclass(frozen=True)
class _About:
    """What a table holds, in words; its columns that nothing reads; whether its rows are chats or best written so."""

    found: str
    extra: Sequence[str] = ()
    turns: bool = False
    asks: bool = False


def _from(folder: Path, name: str) -> str:
    """A path of the working directory as a spec in ``folder`` has it: relative where both are below that directory."""
    before, _, split = name.rpartition(":")
    if before and not Path(name).expanduser().exists():
        return f"{_from(folder, before)}:{split}"
    path, here = Path(name).expanduser().resolve(), Path.cwd().resolve()
    if not path.is_relative_to(here) or not folder.resolve().is_relative_to(here):
        return str(path)
    near = os.path.relpath(path, folder.resolve())
    return near if near.startswith(".") else f"./{near}"


def _described(table: Table, base: Base, rows: Rows | None) -> _About:
    found = rows.of_table(table, Gates()) if rows else table.rows()
    columns = list(dict.fromkeys(key for _, fields in found for key in fields))
    first = found[0][1]
    shape, count = shape_of(first), "1 row" if len(found) == 1 else f"{len(found):,} rows"
    turns = asks = False
    if rows is not None:
        known, what = (*rows.required, *rows.optional, *COMMON), f"for {base.objective.name}"
    elif shape is None or "image" in columns:
        known, what = (*IMAGE_FIELDS, "file_name", *COMMON), "of images"
    else:
        known, what = shape.columns, f"of {shape.name}"
        turns = any(is_chat(value) for value in first.values())
        template = getattr(getattr(base.objective, "tokenizer", None), "chat_template", None)
        asks = shape.asks and not turns and bool(template)
    read = [name for name in columns if name in known]
    pairs, lacking = second_of(columns) not in (None, *known), rows and not set(rows.required) <= set(columns)
    if not read or pairs or lacking or (rows is None and foreign(columns)):  # curation says what is wrong with them
        return _About(f"{count} {what}")
    extra = [name for name in columns if name not in known]
    return _About(f"{count} {what} ({', '.join(read)})", extra, turns, asks)


def _checked(part: Part, spec: Spec, base: Base) -> Curated:
    """The curated part, of which every sample fits the base; with few pairs, as only its names are wanted."""
    made = curate(part.model_copy(update={"pairs": 1}), spec, reader=reader_of(base), **base.objective.curation())
    for sample in sample_rows(made.samples):
        if not sample.unreadable:
            encode(base, sample)
    return made


def _few(made: Curated) -> tuple[str, str] | None:
    """Evenly spaced rows as probes, and as queries their own samples, what they claim, and others; None for all."""
    names = dict(zip(made.samples["sample_id"].to_pylist(), made.samples["name"].to_pylist(), strict=True))
    if made.probes.num_rows <= PROBES and len(names) <= QUERIES:
        return None
    probes = dict(zip(made.probes["probe_id"].to_pylist(), made.probes["name"].to_pylist(), strict=True))
    chosen = _spaced(list(probes), PROBES)
    pairs = made.relations.select(["probe_id", "query_id", "kind"]).to_pylist()
    claimed = [row["query_id"] for row in pairs if row["kind"] is not None and row["probe_id"] in set(chosen)]
    queries = dict.fromkeys([*claimed, *_spaced(list(names), max(0, QUERIES - len(set(claimed))))])
    rows = "".join(f"{json.dumps({'id': probes[key], 'samples': [probes[key]]})}\n" for key in chosen)
    return rows, "".join(f"{names[key]}\n" for key in queries)


def _spaced(names: Sequence[str], most: int) -> list[str]:
    count = min(most, len(names))
    return [names[index * len(names) // count] for index in range(count)]


def _text(part: Part, name: str, about: _About, base: Base, few: tuple[str, str] | None) -> str:
    switches = [f"fields: {json.dumps(part.fields, ensure_ascii=False)}"] if part.fields else []
    if about.extra:
        switches.append(f"extra: drop      # leaves out what nothing reads: {', '.join(about.extra)}")
    if part.chat:
        switches.append(
            "chat: true       # prompt and target as turns, by the base's chat template; false: as plain text"
        )
    if part.chat_template is not None:
        switches.append(f"chat_template: {_quoted(part.chat_template)}")
    if few is not None:
        probes, queries = (len(text.splitlines()) for text in few)
        switches += [
            "",
            f"# Evenly spaced, for a first run: {probes} rows are trained and {queries} samples watched.",
            "# Without these two lines every row is trained and every sample watched.",
            "probes: probes.jsonl",
            "queries: queries.txt",
        ]
    prompts = "prompt" in base.objective.can and not about.turns and not part.chat
    arm = "  - estimator: in_context         # ... or put it into the prompt, and train nothing\n" if prompts else ""
    template = (data_folder() / "own" / FILES[0]).read_text(encoding="utf-8")
    return Template(template).substitute(
        name=_quoted(name), base=_quoted(str(part.base)), samples=_quoted(part.samples or ""), found=about.found,
        switches="".join(f"{line}\n" for line in switches), prompting=arm, spec=FILES[0],
    )  # fmt: skip


def _quoted(text: str) -> str:
    """A text in YAML."""
    return json.dumps(text, ensure_ascii=False)
