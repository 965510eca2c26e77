"""Whether influence rests on a feature of samples: worked by hand, against NumPy, and by permutation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einfluence.errors import InputError
from einfluence.metrics import per_probe, score
from einfluence.metrics.artifacts import permutation
from einfluence.metrics.models import modelled
from tests.metrics.conftest import make_store

ELEVEN = [f"p{place:02}" for place in range(11)]
RANKED = {(name, "q"): float(place) ** 3 for place, name in enumerate(ELEVEN)}  # u is -1, -0.8, … 1


def written(tmp_path: Path, rows: list[dict[str, Any]], name: str = "mine.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def rows_of(store: Any, features: list[Any], **settings: Any) -> dict[str, dict[str, Any]]:
    found = score(store, draws=200, features=features, **settings).to_pylist()
    return {row["variant"]: row for row in found if row["desideratum"] == "artifact" and row["domain"] == "all"}


def by_query(store: Any, features: list[Any]) -> dict[tuple[str, str], float]:
    found = per_probe(store, features=features).to_pylist()
    return {(row["variant"], row["probe_id"]): row["value"] for row in found if row["desideratum"] == "artifact"}


def test_the_coefficient_of_what_only_the_extremes_have(tmp_path: Path) -> None:
    ends = [{"sample_id": name, "ends": name in ("p00", "p10"), "u": place / 5 - 1, "zero": 0}
            for place, name in enumerate(ELEVEN)]  # fmt: skip
    found = by_query(make_store(RANKED), [written(tmp_path, ends)])
    # u = k/5, k from -5 to 5: Σk² = 110, Σk⁴ = 1958. p - mean = 1.5 (u² - 0.4), whose squares sum to
    # 2.25 · 11 · (1958/11/625 - 0.16) = 3.0888; both ends have 1.5 · 0.6 of it.
    assert found["ends", "q"] == pytest.approx(1.8 / 3.0888, rel=1e-9)
    assert found["ends: linear", "q"] == pytest.approx(0, abs=1e-12)
    assert (found["u", "q"], found["u: linear", "q"]) == (pytest.approx(0, abs=1e-12), pytest.approx(1))
    assert ("zero", "q") not in found  # all samples are alike


def test_it_is_the_regression_of_numpy_on_ties_and_without_the_querys_own_sample() -> None:
    draw = np.random.default_rng(2)
    names = [f"s{place:02}" for place in range(25)]
    influence = np.round(draw.normal(size=(25, 25)), 1)
    cells = {(a, b): float(influence[i, j]) for i, a in enumerate(names) for j, b in enumerate(names)}
    words = draw.integers(1, 9, 25).tolist()
    samples = {name: {"prompt": " ".join("w" * n), "target": "x"} for name, n in zip(names, words, strict=True)}
    found = by_query(make_store(cells, samples=samples), ["length"])
    length = np.array([len(samples[name]["prompt"].split()) + 1 for name in names], float)
    for j, query in enumerate(names):
        others = np.arange(25) != j
        column = influence[others, j]
        place = np.array([(column < at).sum() + ((column == at).sum() + 1) / 2 for at in column])
        u = (2 * place - 25) / 23
        design = np.stack([np.ones(24), u, (3 * u**2 - 1) / 2], axis=1)
        wanted = np.linalg.lstsq(design, length[others], rcond=None)[0]
        assert found["length: linear", query] == pytest.approx(wanted[1], abs=1e-9)
        assert found["length", query] == pytest.approx(wanted[2], abs=1e-9)


def test_features_that_ship_read_the_words_that_the_model_reads() -> None:
    draw = np.random.default_rng(0)
    classed = {"objective": "sequence_class", "label": 1, "target": "no"}
    texts = {"text": "The dog, the cat", "text_b": "a CAT isn't the dog"}
    pair = {**classed, "inputs": json.dumps(texts), "prompt": " ".join(texts.values())}
    alone = {**classed, "inputs": json.dumps({"text": "not the dog"}), "prompt": "not the dog", "label": 0}
    text = {"prompt": "north of the wall", "target": "the wall"}
    samples = {"pair": pair, "alone": alone, "text": text, "more": {**text, "prompt": "nobody's wall"}, "empty": {}}
    cells = {(name, query): float(draw.normal()) for name in samples for query in "qr"}
    store = make_store(cells, samples=samples)
    shipped = ["lexical_overlap", "negation", "length", "class_share"]
    with modelled(store, features=shipped) as models:
        found = models.connection.sql(
            "select name, feature, value from mart_features join stg_probes using (probe)"
        ).fetchall()
    said = {(name, feature): value for name, feature, value in found}
    assert said["pair", "lexical_overlap"] == 3 / 5  # of a, cat, isn't, the, dog
    assert (said["text", "lexical_overlap"], said["more", "lexical_overlap"]) == (1.0, 0.5)
    assert ("alone", "lexical_overlap") not in said and ("empty", "lexical_overlap") not in said
    assert [said[name, "negation"] for name in ("pair", "alone", "text", "more")] == [1, 1, 0, 1]
    assert [said[name, "length"] for name in ("pair", "alone", "text", "more")] == [9, 3, 6, 4]
    assert [said[name, "class_share"] for name in ("pair", "alone", "text", "empty")] == [0.2, 0.2, 0.4, 0.2]


def test_a_feature_that_goes_with_the_size_of_influence_is_found_and_a_permuted_one_is_not(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    names, queries = [f"s{place:02}" for place in range(40)], [f"q{place}" for place in range(12)]
    size = draw.integers(0, 2, 40)
    cells = {(name, query): float(draw.normal() * (0.2 + 3 * size[i])) for i, name in enumerate(names)
             for query in queries}  # fmt: skip
    mine = [{"id": name, "large": bool(size[i]), "other": float(draw.normal())} for i, name in enumerate(names)]
    found = rows_of(make_store(cells, samples={}), [written(tmp_path, mine)])
    large, other = found["large"], found["other"]
    assert large["ci_low"] > 0 and large["p_value"] == 1 / 201 and large["n"] == 12
    assert other["p_value"] > 0.05
    pieces = ("formula", "kind", "verdict", "null_value")
    assert [large[name] for name in pieces] == ["quadratic", "large", "described", 0.0]


def test_the_p_by_permutation_is_uniform_where_queries_share_their_samples(tmp_path: Path) -> None:
    """By signs of queries it would not be: all queries rank the samples alike here."""
    draw = np.random.default_rng(5)
    names = [f"s{place:02}" for place in range(20)]
    strength = draw.normal(size=20)
    cells = {(name, f"q{query}"): float(strength[i] + 0.1 * draw.normal()) for i, name in enumerate(names)
             for query in range(8)}  # fmt: skip
    mine = [{"id": name, **{f"f{k}": float(draw.normal()) for k in range(100)}} for name in names]
    found = rows_of(make_store(cells), [written(tmp_path, mine)])
    p = np.array([found[f"f{k}"]["p_value"] for k in range(100)])
    assert 0.01 <= np.mean(p < 0.1) <= 0.2 and 0.35 < p.mean() < 0.65


def test_clusters_are_permuted_whole_among_those_of_their_size() -> None:
    cluster = np.array([0, 1, 1, 2, 2, 3, 4, 4, 4])
    seen = set()
    for seed in range(30):
        moved = permutation(cluster, np.random.default_rng(seed))
        assert sorted(moved) == list(range(9)) and list(moved[6:]) == [6, 7, 8]
        assert moved[2] == moved[1] + 1 and moved[4] == moved[3] + 1 and {moved[0], moved[5]} == {0, 5}
        seen.add(tuple(moved))
    assert len(seen) == 4


def test_of_few_samples_there_is_no_row_and_by_default_none_at_all(tmp_path: Path) -> None:
    few = {pair: value for pair, value in RANKED.items() if pair[0] < "p09"}
    mine = written(tmp_path, [{"id": name, "f": place % 2} for place, name in enumerate(ELEVEN)])
    assert not rows_of(make_store(few), [mine]) and not rows_of(make_store(RANKED), [])


def test_features_may_be_a_select_over_the_store(tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_text("select sample_id, name in ('p00', 'p10') as ends from samples")
    assert by_query(make_store(RANKED), [path])["ends", "q"] == pytest.approx(1.8 / 3.0888)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "p00", "f": 1}', "mine.jsonl:1: found no column sample_id or id"),
        ('{"id": "p00", "f": "long"}', "mine.jsonl:1 f: found 'long'; expected a number"),
        ('{"id": "p00", "f": 1}\n{"id": "p00", "f": 2}', "mine.jsonl:2 id: found 'p00' again"),
        ('{"id": "nobody", "f": 1}', "found no id of the store"),
        ('{"id": "p00", "length": 1}', "column length: found the name of one that ships"),
    ],
)
def test_a_file_of_features_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        score(make_store(RANKED), features=[path])


def test_a_select_of_features_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_text("select nothing from nowhere")
    with pytest.raises(InputError, match="mine.sql: .*nowhere"):
        score(make_store(RANKED), features=[path])
    twice = written(tmp_path, [{"id": "p00", "f": 1}])
    with pytest.raises(InputError, match="the name of one of"):
        score(make_store(RANKED), features=[twice, written(tmp_path, [{"id": "p00", "f": 1}], "other.jsonl")])
