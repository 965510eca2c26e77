"""Every quality gate of texts can fire; and a gate that nothing was held against has no row."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einfluence.curate import curate, gates, sources
from einfluence.curate.facts import derive as facts
from einfluence.curate.sources import cases
from einfluence.curate.text_noise import Read
from einfluence.samples import Curated, Sample
from einfluence.spec import Facts, Part, Source, Spec

from .sources import each, read
from .sources import gates as counts

# The package has functions of the same names.
conll, sentiment = (importlib.import_module(f"einfluence.curate.sources.{name}") for name in ("conll", "sentiment"))
DATA = Path(__file__).parent / "data"


def texts(folder: Path, rows: list[dict[str, Any]], **base: Any) -> Curated:
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = Part(base="x", samples="samples.jsonl")
    return curate(part, Spec(parts=(part,), folder=folder), **base)


JOINTS = [("洛德的首府是", "维安"), ("np.", "array"), ("Fir is", "far"), ("Fir is ", "far"), ("Fir ends in", "</s>")]


def with_a_base(**base: Any) -> Curated:
    source = Source(name="counterfact", path=str(DATA / "counterfact" / "easyedit.json"))
    part = Part(base="x", source=source, distance=("lexical",))
    return curate(part, Spec(parts=(part,)), **base)


def knowing(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([-0.1 if sample.name else -10.0 for sample in samples])


WORLD = """
relations:
  has: {domain: parts, statement: "{subject} has {object}", negation: "{subject} has {object} ."}
  is_a: {domain: kinds, statement: "{subject} is a {object}"}
triplets: [[bird, has, wings], [dax, has, wings], [wug, is_a, bird]]
rules: [{name: inherits, if: [["?x", is_a, "?y"], ["?y", has, "?z"]], then: ["?x", has, "?z"]}]
probes: [[dax, is_a, bird], [wug, is_a, bird], [fep, has, fep], [tov, has, wings]]
"""


def of_a_world(folder: Path) -> Curated:
    (folder / "facts.yaml").write_text(WORLD)
    part = Part(base="x", facts=Facts(file="facts.yaml"), distance=("lexical",))
    return curate(part, Spec(parts=(part,), folder=folder))


def one_file(name: str, file: str, text: str, folder: Path) -> Curated:
    (folder / file).write_text(text)
    return read(name, folder / file)


@pytest.fixture(scope="module")
def fired(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("gates")
    (folder / "split").mkdir()
    chain = ["Max has a zupus.", "Every zupus is a blickus.", "Max is a blickus."]
    for split in ("train", "test"):
        (folder / "split" / f"{split}.csv").write_text("text,label\nFine.,1\n")
    made = [
        read("counterfact", DATA / "counterfact" / "easyedit.json"),
        read("leap_of_thought", DATA / "leap_of_thought.jsonl"),
        read("knowedit", DATA / "knowedit.json"),
        read("pararel", DATA / "pararel"),
        read("proofwriter", DATA / "proofwriter.jsonl"),
        read("sentiment", folder / "split"),
        one_file("prontoqa", "a.json", json.dumps([{"explanation": chain, "question": "?"}]), folder),
        one_file("conll", "a.conll", "Ann\tB-P\nAlder\tE-P\nBo\tI-P", folder),
        one_file("sentiment", "a.csv", "text,label\nFine.,positive\nSo so.,neutral\n", folder),
        texts(folder, [{"id": name, "prompt": "Fir is", "target": name} for name in ("far", "Far", "near")]),
        texts(folder, [{"id": name, "prompt": "Fir is", "target": "far"} for name in ("a", "b")]),
        texts(
            folder,
            [{"id": str(place), "prompt": prompt, "target": target} for place, (prompt, target) in enumerate(JOINTS)],
            tokenize=each(list),
            specials=["</s>"],
        ),
        with_a_base(tokenize=each(lambda text: [] if text == "Danish" else list(text)), max_tokens=30),
        with_a_base(logprobs=knowing),
        of_a_world(folder),
        with_a_base(reader=lambda sample: Read((), lost=1, kept="Dan" if sample.target == "Danish" else "")),
    ]
    return {name for table in made for name, count in counts(table).items() if count}


NAMED = {
    *(cases.DUPLICATE, cases.MERGED, cases.SUBJECT, cases.NOT_AT_END, cases.NEGATION, cases.STATED, cases.LEAK),
    *(cases.UNANSWERED, cases.UNREADABLE, conll.SCHEME, conll.BROKEN, sentiment.OTHER, sources.TOGETHER),
    *(
        gates.TOO_LONG,
        gates.NO_TOKENS,
        gates.UNKNOWN,
        gates.PARTLY,
        gates.KNOWN,
        gates.CONFLICT,
        gates.ALIKE,
        "samples of equal content",
    ),
    *(gates.NO_BLANK, gates.DOUBTFUL, gates.SEEN_ALIKE, gates.CONTROL),
    *(facts.KNOWN, facts.STATED, facts.NEGATION, facts.LEAK),
}


@pytest.mark.parametrize("gate", sorted(NAMED))
def test_every_gate_can_fire(gate: str, fired: set[str]) -> None:
    assert gate in fired


@pytest.mark.parametrize("module", [cases, conll, facts, gates, sentiment, sources])
def test_every_gate_is_tried_here(module: Any) -> None:
    constants = {key: value for key, value in vars(module).items() if key.isupper() and not key.startswith("_")}
    assert {value for value in constants.values() if isinstance(value, str) and " " in value} <= NAMED


def test_a_gate_that_nothing_was_held_against_has_no_row() -> None:
    found = counts(read("sentiment", DATA / "sentiment_labelled.txt"))
    assert cases.SUBJECT not in found and cases.NEGATION not in found and cases.STATED not in found
    assert found[cases.LEAK] == 0 and found[cases.DUPLICATE] == 0
