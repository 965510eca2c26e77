"""One self-contained HTML page out of a store's views."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import vl_convert
from markupsafe import Markup

from einfluence.arms import within
from einfluence.metrics.verdicts import rules_of
from einfluence.report import images, payload, sections
from einfluence.report.actions import actions
from einfluence.report.estimates import estimates
from einfluence.report.figure import number, short
from einfluence.report.provenance import provenance
from einfluence.report.query import Arm, Part, Rows, parts_of, prepared, rows
from einfluence.report.recipes import doses, few_arms, grids_of, recipes
from einfluence.report.rescue import rescue
from einfluence.report.rules import rules_in_words
from einfluence.report.scorecard import scorecard, scorecard_figure
from einfluence.report.taught import taught
from einfluence.report.theme import DARK, HELPED, HURT, LIGHT, Theme
from einfluence.report.tuned import tuned
from einfluence.report.words import level_name, noise_name, sentence
from einfluence.visible import visible

ROOMS = (
    ("taught", "taught", "Training set"),
    ("actions", "actions", "Actions"),
    ("slopes", "prompting", "Training beside prompting"),
    ("estimates", "estimates", "Estimates"),
    ("tuned", "tuned", "Base against tuned"),
    ("distance", "distance", "Distance"),
    ("noise", "noise", "Noise"),
    ("layers", "layers", "Layers"),
    ("recipes", "recipe", "Recipe"),
)  # what a part is shown with, the section's id, its title; those that no part has are not there
LEAD = 4  # sentences on each part that open the page
QUIET = ("gate", "asymmetry", "sparseness")  # desiderata that it does not open with
NOISE = ("noise_invariance", "noise_quality")
FLIP = "label_flip"  # the kind of noise that leaves the picture as it is
_SIGNS = {
    "light": ("#0b6b45", "#a02c12", "#0b57a0", "#2f78c0", "#c96a12"),
    "dark": ("#62cf9b", "#f39a80", "#7fbcf5", "#6db4f4", "#f2a661"),
}


def write_report(connection: duckdb.DuckDBPyConnection, out: Path, *, run: Mapping[str, Any]) -> Path:
    """Writes the report of a store.

    Args:
        connection: Has the store's views (see ``docs/data-model.md``).
        out: The file to write; one that is there is replaced whole.
        run: Provenance, all optional: ``study``, ``spec`` (its text or its fields), ``store``, ``started``,
            ``seconds``, ``versions`` (by package), ``wanted``, ``present``, ``computed``, ``failed``; further keys are
            listed as they are.

    Returns:
        ``out``.
    """
    with ThreadPoolExecutor(1) as pool, prepared(connection):
        script = pool.submit(library)  # takes a second of its own, beside the SQL
        return write_whole(out, _html(connection, run, script))


def _html(connection: duckdb.DuckDBPyConnection, run: Mapping[str, Any], script: Future[str]) -> str:
    parts, rules = parts_of(connection), rules_of(connection)
    samples = payload.Samples()
    shown = [
        part_shown(connection, part, place, rules.apart) | {"matrix": payload.matrices(connection, part, samples)}
        for place, part in enumerate(parts)
    ]
    probes = [probe for place, part in enumerate(parts) for probe in payload.probes(connection, part, place, samples)]
    data = {
        **samples.payload(connection),
        "parts": [
            {"label": part.label, "text": part.modality == "text", "arms": _arms(part), "matrix": entry["matrix"]}
            for part, entry in zip(parts, shown, strict=True)
        ],
        "probes": probes,
        "colours": {"hurt": HURT, "helped": HELPED},
        "heatmap": json.loads(asset("heatmap.json")),
        "losses": json.loads(asset("losses.json")),
    }
    there = rooms_of(shown)
    alone, compared = alone_and_within(parts)
    heading = heading_of(parts)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            title=f"{heading} · {run.get('study', 'einfluence')}",
            heading=heading,
            run_name=run.get("study", "run"),
            summary=summary_of(parts, rows(connection, "failures")),
            alone=alone,
            within=" and ".join(name.replace("_", " ") for name in compared),
            contents=_contents(there),
            parts=shown,
            shown=there,
            probe_count=len(probes),
            rules=rules_in_words(rules),
            provenance=provenance(connection, shown, run),
            variables=Markup(variables()),
            css=Markup(asset("report.css")),
            script=Markup(asset("report.js")),
            library=Markup(script.result()),
            data=Markup(payload.script_json(data)),
        )
    )


def part_shown(connection: duckdb.DuckDBPyConnection, part: Part, place: int, apart: float) -> dict[str, Any]:
    """What the rooms show of a part, without its matrix; needs :func:`~einfluence.report.query.prepared`.

    Args:
        connection: Has the store's views.
        part: The part.
        place: Its number among the parts.
        apart: The house rule of that name.
    """
    card, grids = scorecard(connection, part), grids_of(connection, part)
    lines, dose = card["lines"], doses(card["lines"])
    few = few_arms(part, dose, grids)
    noise = sections.noise(part, lines)
    most = max(part.arms, key=lambda arm: arm.cells)
    return {
        "place": place,
        "name": "Texts" if part.modality == "text" else "Images",
        "label": part.label,
        "modality": part.modality,
        "thing": part.thing,
        "arms": part.arms,
        "few": few.arms,
        "counts": f"{part.label}, {most.probes:,} probes × {most.queries:,} queries",
        "scorecard": card | {"figure": scorecard_figure(lines, few)},
        "lead": _lead(card, part.thing),
        "noisy": bool(noise),
        "taught": taught(connection, part, lines),
        "actions": actions(connection, part, lines),
        "slopes": sections.slopes(connection, few),
        "rescue": rescue(lines, few, apart),
        "estimates": estimates(connection, part),
        "tuned": tuned(connection, part),
        "distance": sections.distance(connection, few),
        "noise": noise,
        "flips": [
            line for line in lines if line["kind"] == FLIP and line["desideratum"] == "noise_quality" and line["n"]
        ],
        "examples": _examples(connection) if noise and part.modality == "image" else [],
        "layers": sections.layers(connection, few, lines),
        "restored": any(line["desideratum"] == "layer_restoration" for line in lines),
        "recipes": recipes(lines, part, dose, grids),
    }


def _arms(part: Part) -> list[dict[str, object]]:
    return [{"short": arm.short, "label": arm.label, "shape": arm.shape} for arm in part.arms]


def _examples(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    families: dict[str, dict[str, list[dict[str, str]]]] = {}
    for row in rows(connection, "noise_examples"):
        if not row["pixels"] or not row["shape"]:
            continue
        image = images.picture(row["pixels"], row["shape"])
        strength = "clean" if row["clean"] else level_name(row["noise"], row["level"]) or "level not known"
        name = f"{noise_name(row['noise'])}, {strength}, class {images.class_of(row)}"
        families.setdefault(row["noise"], {}).setdefault(strength, []).append(
            {"uri": images.data_uri(image), "alt": name}
        )
    return [
        {
            "name": noise_name(name),
            "levels": [{"name": level, "pictures": pictures} for level, pictures in levels.items()],
        }
        for name, levels in families.items()
        if name != FLIP
    ]


def alone_and_within(parts: Sequence[Part]) -> tuple[bool, list[str]]:
    """Whether samples were taught alone, and the estimators that compare trainings of a set."""
    used = [arm.stands_for or arm.estimator for part in parts for arm in part.arms]
    compared = within(used)
    return not parts or set(used) > set(compared), compared


def heading_of(parts: Sequence[Part]) -> str:
    """What a store is about."""
    alone, _ = alone_and_within(parts)
    return "What one sample teaches" if alone else "What each sample of a training set did"


def summary_of(parts: Sequence[Part], failed: Rows) -> str:
    """What was measured, in a sentence, and what failed."""
    if not parts:
        return "The store is empty."
    cells = sum(arm.cells for part in parts for arm in part.arms)
    pieces = [
        f"{max(arm.probes for arm in part.arms):,} lessons on {max(arm.queries for arm in part.arms):,} {part.thing}s"
        for part in parts
        if any(arm.cells for arm in part.arms)
    ]
    here = f"Here: {' and '.join(pieces)}, {cells:,} such numbers." if pieces else "Here nothing could be measured."
    count = sum(row["probes"] for row in failed)
    lessons = f"{count:,} lessons" if count > 1 else "1 lesson"
    return here + (f" {lessons} failed; Provenance has the reasons." if count else "")


def _lead(card: Mapping[str, Any], thing: str) -> Rows:
    """What opens the page on a part: the plainest verdicts on its first arm, and which arms differ from it.

    An estimate has a say only in what nothing was measured for.

    Violations come first, and those that another arm does not share before others; one that is met is among them.
    """
    by_arm: dict[tuple[str, str], Rows] = {}
    for item in card["desiderata"]:
        measured = [line for line in item["lines"] if line["arm"].stands_for is None] or item["lines"]
        lines = [line for line in measured if line["verdict"] in ("met", "violated")]
        if lines and item["name"] not in QUIET:
            others = [line for line in measured if line["arm"] is not lines[0]["arm"]]
            other = "violated" if lines[0]["verdict"] == "met" else "met"
            against = [_by(x["arm"]) for x in others if x["verdict"] == other]
            alone = "" if lines[0] is measured[0] else f"So {_by(lines[0]['arm'])}. "
            by_arm.setdefault(_grid_of(lines[0]), []).append({**lines[0], "against": against, "alone": alone})
    every = [_sentence(lines, thing) for lines in by_arm.values()]
    best = sorted(every, key=lambda line: -line["weight"])
    met = [line for line in every if line["verdict"] == "met"][:1]
    chosen = [*met, *(line for line in best if line not in met)][:LEAD]
    return [line for line in every if line in chosen]


def _by(arm: Arm) -> str:
    return f"{'when' if arm.estimator in ('finetune', 'in_context') else 'by'} {arm.short}"


def _grid_of(line: dict[str, Any]) -> tuple[str, str]:
    """Lines that one sentence can tell together: those of all noise families, where their verdict is the same."""
    together = line["desideratum"] in NOISE and line["kind"] != FLIP
    return line["desideratum"] + ("" if together else line["variant"]), line["verdict"]


def _sentence(lines: Rows, thing: str) -> dict[str, Any]:
    first, against = lines[0], lines[0]["against"]
    verdict_sentence = first["sentence"]
    if len(lines) > 1:
        names = [noise_name(line["kind"]) for line in lines]
        noise = f"{', '.join(names[:-1])} or {names[-1]}"
        verdict_sentence = sentence(first, first["arm"].estimator, thing, noise=noise)
    return {
        **first,
        "sentence": verdict_sentence,
        "tail": first["alone"] + (f"Not so {' or '.join(against)}." if against else ""),
        "weight": 2 * bool(against) + (first["verdict"] == "violated"),
    }


def rooms_of(shown: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The rooms that some of the parts have something for, each with ``key``, ``id`` and ``title``."""
    there = [room for room in ROOMS if any(entry[room[0]] for entry in shown)]
    return [dict(zip(("key", "id", "title"), room, strict=True)) for room in there]


def _contents(there: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    listed = [(room["id"], room["title"]) for room in there]
    return [("verdict", "Verdict"), ("matrix", "Matrix"), *listed, ("probe", "One probe"), ("provenance", "Provenance")]


def variables(of: str = ":root") -> str:
    """The colours as CSS variables: light, and dark where the system or the reader asks for it.

    Args:
        of: Selects the element that has them.
    """
    light, dark = _variables(LIGHT, "light"), _variables(DARK, "dark")
    return (
        f"{of}{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{{of}:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"{of}[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media print{{{of},{of}[data-theme=dark],{of}:not([data-theme=light]){{color-scheme:light;{light}}}}}"
    )


def _variables(theme: Theme, name: str) -> str:
    met, violated, link, helped, hurt = _SIGNS[name]
    named = {
        "ink": theme.ink,
        "muted": theme.muted,
        "line": theme.line,
        "paper": theme.paper,
        "band": theme.band,
        "met": met,
        "violated": violated,
        "link": link,
        "helped": helped,
        "hurt": hurt,
        "edge": "#8b8880" if name == "light" else "#6c7078",
        **{f"arm-{index}": colour for index, colour in enumerate(theme.arms)},
    }
    return "".join(f"--{key}:{value};" for key, value in named.items())


@cache
def library() -> str:
    """Vega as one script, from the same package that draws the still charts."""
    bundle = vl_convert.javascript_bundle(None)  # pyright: ignore[reportArgumentType]  # None: Vega, Vega-Lite, vega-embed
    return re.sub(r"<(?=/script|!--)", r"\\x3c", bundle, flags=re.IGNORECASE)


@cache
def asset(name: str) -> str:
    """A file of :file:`page/`, as text."""
    return (resources.files("einfluence.report") / "page" / name).read_text(encoding="utf-8")


def _seen(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def environment() -> jinja2.Environment:
    """Templates: all is escaped that is not marked as safe, and no text acts instead of being seen."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_seen,
    )
    made.filters.update(number=number, short=short)
    return made


def write_whole(out: Path, text: str) -> Path:
    """Writes a file under a temporary name and renames it, so that one that is there is whole."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return out
