"""Words of a query that speak for its target, in the model that a run trained, beside the samples that do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import einfluence
from einfluence.errors import InputError
from einfluence.salient import salient
from einfluence.session import Session
from einfluence.spec import load_spec
from flows import cli
from tests.test_training_sets import RECIPE, study

LOO = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"


def test_words_of_a_query_stand_beside_the_samples_that_made_it(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, store = study(tmp_path, gpt2_folder, LOO), tmp_path / "store"
    einfluence.measure(spec, store, report=False)

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
    assert max(abs(row["nats"]) for row in rows) > 0 and rows[0]["row"] is None
    with pytest.raises(InputError, match="in no part of"):
        salient(load_spec(spec), einfluence.Store(store), "0" * 20, Session("cpu"))
