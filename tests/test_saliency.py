"""Words of a query that speak for its target, in the model that a run trained, beside the samples that do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import einfluence
from einfluence.engine import saliency
from einfluence.errors import InputError
from einfluence.estimate import estimate
from einfluence.metrics import per_probe, score
from einfluence.models.base import Base
from einfluence.salient import salient
from einfluence.session import Session
from einfluence.spec import load_spec
from flows import cli
from tests.metrics.trained import explain, trained_store
from tests.test_training_sets import RECIPE, study, write

LOO = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: Path) -> tuple[Path, Path]:
    """A spec that wants the words of two queries, and the store that it was run into."""
    folder = tmp_path_factory.mktemp("salient")
    spec = study(folder, gpt2_folder, LOO, schedule="epochs: 2, batch_size: 2, saliency: 2")
    einfluence.measure(spec, folder / "store", report=False)
    return spec, folder / "store"


def asked(store: Path, query: str) -> list[tuple[Any, ...]]:
    with einfluence.Store(store).connect() as connection:
        return connection.sql(query).fetchall()


def test_words_of_a_query_stand_beside_the_samples_that_made_it(
    measured: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, store = measured

    def command(*more: str) -> str:
        monkeypatch.setattr("sys.argv", ["einfluence", "saliency", "e", str(spec), "--store", str(store), *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    shown = command()
    assert all(word in shown for word in ("wug", "gold", "wings", "because of", "leave_one_out"))
    rows = json.loads(command("--json"))
    assert [row["token"].strip() for row in rows][-4:] == ["wug", "has", "gold", "wings"]
    assert rows[-1]["nats"] == 0  # nothing is predicted from the last word
    assert max(abs(row["nats"]) for row in rows) > 0 and rows[0]["patch_row"] is None
    kept = "select position, token, nats from saliency join samples on sample_id = query_id where name = 'e' order by 1"
    assert asked(store, kept) == [(row["position"], row["token"], row["nats"]) for row in rows]  # the run stored it
    with pytest.raises(InputError, match="in no part of"):
        salient(load_spec(spec), einfluence.Store(store), "0" * 20, Session("cpu"))


def test_a_run_explains_so_many_queries_those_held_out_first_and_each_once(measured: tuple[Path, Path]) -> None:
    spec, store = measured
    names = "select distinct name from saliency join samples on sample_id = query_id"
    own = sorted(asked(store, "select sample_id, name from samples where name <> 'e'"))
    assert {name for (name,) in asked(store, names)} == {"e", own[0][1]}
    assert einfluence.measure(spec, store, report=False).failed == 0
    assert len(list((store / "saliency").iterdir())) == 1
    spec.write_text(spec.read_text().replace("saliency: 2", "saliency: 9"))
    assert einfluence.measure(spec, store, report=False).computed == 0
    assert {name for (name,) in asked(store, names)} == set("abcde")
    assert len(list((store / "saliency").iterdir())) == 2
    [(rows, places)] = asked(store, "select count(*), count(distinct (query_id, position)) from saliency")
    assert rows == places


def test_a_base_that_is_measured_in_half_precision_is_asked_in_single(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_in, own = set[torch.dtype](), saliency.saliency

    def seen(base: Base, item: Any) -> saliency.Salient:
        asked_in.update(value.dtype for value in base.model.parameters())
        return own(base, item)

    monkeypatch.setattr(saliency, "saliency", seen)
    half = shutil.copytree(gpt2_folder, tmp_path / "half")
    AutoModelForCausalLM.from_pretrained(gpt2_folder, dtype=torch.bfloat16).save_pretrained(half)
    write(tmp_path / "train.jsonl", "ab")
    arms = "[{estimator: in_context, recipe: {dtype: bfloat16}}]"
    (tmp_path / "spec.yaml").write_text(f"base: {half}\nsamples: train.jsonl\narms: {arms}\n")
    assert einfluence.measure(tmp_path / "spec.yaml", tmp_path / "store", report=False).failed == 0
    [(query,)] = asked(tmp_path / "store", "select sample_id from samples where name = 'a'")
    found = salient(load_spec(tmp_path / "spec.yaml"), einfluence.Store(tmp_path / "store"), query, Session("cpu"))
    assert asked_in == {torch.float32} and found.num_rows > 3


def test_what_a_word_says_is_beside_what_the_samples_that_have_it_did() -> None:
    samples = {
        "a": {"prompt": "The dog is", "target": "brown"},
        "b": {"prompt": "A DOG!", "target": "bark"},
        "c": {"inputs": '{"text": "dogma", "label": "brown"}', "target": "noun"},
        "q": {"prompt": "the dog", "target": "barks"},
    }
    cells = {("a", "q"): 0.5, ("b", "q"): 0.1, ("c", "q"): -0.4, ("a", "a"): 3.0, ("b", "a"): 0.2, ("c", "a"): 0.4}
    store = trained_store("abc", cells={"leave_one_out": cells}, samples=samples)
    of_q = ((" the", 1.0), (" dog", 2.0), ("Dog", 0.25), ("!", 9.0), (None, 7.0), (" bar", -0.5))
    explain(store, {"q": of_q, "a": (("brown", -1.0),)})
    found = store.sql(
        "select query_id, word, nats, samples, influence_with, influence_without, above from salient_words order by all"
    ).fetchall()
    assert found == [
        ("a", "brown", -1.0, 1, 0.4, 0.2, 1.0),  # not a itself, which owes most to itself
        ("q", "bar", -0.5, 0, None, pytest.approx(0.2 / 3), None),
        ("q", "dog", 2.25, 2, pytest.approx(0.3), -0.4, 1.0),  # no dogma
        ("q", "the", 1.0, 1, 0.5, pytest.approx(-0.15), 1.0),
    ]


def test_a_decision_rests_on_a_word_where_the_samples_that_have_it_support_it_more() -> None:
    texts = {**dict.fromkeys("abqstuv", "dog"), **dict.fromkeys("cdr", "cat")}
    samples = {name: {"prompt": text, "target": "!"} for name, text in texts.items()}
    rows = {**dict.fromkeys("qstuv", (0.5, 0.1, 0.1, -1.0)), "r": (0.5, 0.4, 0.3, 0.2)}
    cells = {(probe, query): nats for query, row in rows.items() for probe, nats in zip("abcd", row, strict=True)}
    store = trained_store("abcd", cells={"leave_one_out": cells}, samples=samples)
    dogs = dict.fromkeys("qstuv", ((" dog", 2.0), ("none", 9.0)))  # no sample has the word "none"
    explain(store, {**dogs, "r": (("cat", 1.0), ("dog", -3.0))})
    found = {row["probe_id"]: row["value"] for row in per_probe(store).to_pylist() if row["desideratum"] == "saliency"}
    # Of a dog over a cat on q: 0.5 > 0.1, 0.5 > -1, 0.1 = 0.1 as half, 0.1 > -1; of a cat over a dog on r never.
    assert found == {**dict.fromkeys("qstuv", 0.875), "r": 0.0}
    [row] = [row for row in score(store, draws=50).to_pylist() if row["desideratum"] == "saliency"]
    assert (row["variant"], row["value"], row["null_value"]) == ("shared word", pytest.approx(5 * 0.875 / 6), 0.5)
    assert row["verdict"] == "described"


def test_a_plan_counts_the_words_that_the_store_lacks(measured: tuple[Path, Path], tmp_path: Path) -> None:
    spec, store = measured
    own = tmp_path / "spec.yaml"
    for name in ("train.jsonl", "valid.jsonl"):
        shutil.copy(spec.parent / name, tmp_path)
    own.write_text(re.sub(r"saliency: \d", "saliency: 4", spec.read_text()))
    *_, words = estimate(load_spec(own), einfluence.Store(tmp_path / "store")).rows
    assert (words.unit, words.wanted, words.missing, words.probes) == ("explanation", 4, 4, 0)
    assert words.seconds > 0 and words.memory > 0 and words.how == "gradients of 4 queries behind one training"
    assert not (tmp_path / "store").exists()
    einfluence.measure(own, tmp_path / "store", report=False)
    assert all(
        row.unit == "cell" and not row.missing
        for row in estimate(load_spec(own), einfluence.Store(tmp_path / "store")).rows
    )
