"""Words of a query that speak for its target, in the model that a run trained, beside the samples that do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.errors import InputError
from einfluence.salient import salient
from einfluence.session import Session
from einfluence.spec import load_spec
from flows import cli
from tests.metrics.trained import trained_store
from tests.test_training_sets import RECIPE, study

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


def test_what_a_word_says_is_beside_what_the_samples_that_have_it_did() -> None:
    samples = {
        "a": {"prompt": "The dog is", "target": "brown"},
        "b": {"prompt": "A DOG!", "target": "bark"},
        "c": {"inputs": '{"text": "dogma", "label": "brown"}', "target": "noun"},
        "q": {"prompt": "the dog", "target": "barks"},
    }
    cells = {("a", "q"): 0.5, ("b", "q"): 0.1, ("c", "q"): -0.4, ("a", "a"): 3.0, ("b", "a"): 0.2, ("c", "a"): 0.4}
    store = trained_store("abc", cells={"leave_one_out": cells}, samples=samples)
    for query, said in {
        "q": ((" the", 1.0), (" dog", 2.0), ("Dog", 0.25), ("!", 9.0), (None, 7.0), (" bar", -0.5)),
        "a": (("brown", -1.0),),
    }.items():
        for position, (token, nats) in enumerate(said):
            row = ["b", "way", 0, "set", query, position, token, nats, "1"]
            store.execute(
                "insert into saliency by name select $1 as base, $2 as recipe, $3 as seed, $4 as training_set,"
                " $5 as query_id, $6 as position, $7 as token, $8 as nats, $9 as engine_version",
                row,
            )
    found = store.sql(
        "select query_id, word, nats, samples, influence_with, influence_without from salient_words order by all"
    ).fetchall()
    assert found == [
        ("a", "brown", -1.0, 1, 0.4, 0.2),  # not a itself, which owes most to itself
        ("q", "bar", -0.5, 0, None, pytest.approx(0.2 / 3)),
        ("q", "dog", 2.25, 2, pytest.approx(0.3), -0.4),  # no dogma
        ("q", "the", 1.0, 1, 0.5, pytest.approx(-0.15)),
    ]
