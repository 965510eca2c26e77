"""What is counted: gates that need the base, pairs left out, the summary for people, and the published schemas."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from einfluence.curate import curate, gates
from einfluence.curate.schema import schemas, text_of
from einfluence.curate.summary import counts, summary
from einfluence.samples import Sample
from einfluence.spec import Facts, Images, Part, Spec

from .sources import each

BIRDS = Path(__file__).parent / "data" / "birds.yaml"
PART = Part(base="x", facts=Facts(file=str(BIRDS)))
SPEC = Spec(parts=(PART,))


def test_texts_over_the_context_are_left_out_and_counted() -> None:
    whole = curate(PART, SPEC)
    made = curate(PART, SPEC, tokenize=each(str.split), max_tokens=6)
    long = [row for row in whole.samples.to_pylist() if len(f"{row['prompt']} {row['target']}".split()) + 1 > 6]
    counted = {row["gate"]: row["count"] for row in made.report.to_pylist()}
    assert long and counted[gates.TOO_LONG] == len(long)
    assert made.samples.num_rows == whole.samples.num_rows - len(long)
    assert not {row["sample_id"] for row in long} & set(made.relations["query_id"].to_pylist())


def test_facts_that_the_base_knows_are_counted() -> None:
    def logprobs(samples: list[Sample]) -> np.ndarray:
        return np.array([-1.0 if sample.prompt == "dax is a" else -9.0 for sample in samples])

    made = curate(PART, SPEC, logprobs=logprobs)
    found = next(row for row in made.report.to_pylist() if row["gate"] == gates.KNOWN)
    assert (found["count"], found["example"]) == (1, "dax is a | bird: 8.0 nats")


def test_too_many_pairs_are_thinned_and_counted() -> None:
    dense = curate(PART, SPEC)
    thin = curate(PART.model_copy(update={"pairs": 50}), SPEC)
    pairs = [{(row["probe_id"], row["query_id"]): row for row in made.relations.to_pylist()} for made in (dense, thin)]
    assert set(pairs[1]) < set(pairs[0])
    assert all(pairs[0][key]["kind"] == row["kind"] for key, row in pairs[1].items())
    assert all(pairs[0][key]["distance"] == pytest.approx(row["distance"], abs=1e-5) for key, row in pairs[1].items())
    claimed = {key for key, row in pairs[0].items() if row["kind"] not in (None, "unrelated", "neighbour")}
    assert claimed <= set(pairs[1])
    left = next(row["count"] for row in thin.report.to_pylist() if row["gate"].startswith("pairs not wanted"))
    assert left == len(pairs[0]) - len(pairs[1])


def test_counts_add_up() -> None:
    made = curate(PART, SPEC)
    table = counts(made).to_pylist()
    assert sum(row["pairs"] for row in table) == made.relations.num_rows
    by_kind = Counter(made.relations["kind"].to_pylist())
    for kind, number in by_kind.items():
        assert sum(row["pairs"] for row in table if row["kind"] == kind) == number
    entailed = next(row for row in table if (row["domain"], row["kind"]) == ("taxonomy", "entailed"))
    assert entailed["probes"] <= entailed["pairs"]


@pytest.mark.parametrize("part", [PART, Part(base="x", images=Images(probes=5, queries=10, label_flip=True))])
def test_the_summary_shows_kinds_gates_and_ten_examples(part: Part) -> None:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(summary(curate(part, Spec(parts=(part,)))))
    shown = console.export_text()
    console.file.close()
    assert "pairs by domain and kind" in shown and "quality gates" in shown
    assert shown[shown.index("examples") :].count("\n│") == 10


def test_published_schemas_are_those_of_the_code() -> None:
    folder = Path(__file__).parents[2] / "docs" / "schema"
    for name, schema in schemas().items():
        written = (folder / f"{name}.json").read_text(encoding="utf-8")
        assert written == text_of(schema), f"run python -m einfluence.curate.schema ({name})"
        assert json.loads(written)["$schema"].startswith("https://json-schema.org/")
