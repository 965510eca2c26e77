"""A user's file without what was removed in a training, a reason for each row, and what is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from einfluence.actions.choice import by_query
from einfluence.actions.clean import clean
from einfluence.actions.planning import scenes
from einfluence.errors import InputError
from einfluence.prepare import find_part
from einfluence.spec import load_spec
from einfluence.store.store import Store
from flows.cli import app
from tests.removals import Removals
from tests.test_training_sets import TEXTS, rows


def test_the_file_lacks_what_was_removed_and_each_of_those_has_its_score(removals: Removals, tmp_path: Path) -> None:
    spec, store, folder = removals
    found = clean(spec, store, tmp_path / "kept.jsonl", by="leave_one_out", share=0.25)
    [(gone, place)] = rows(
        store.root,
        "select name, position from actions join training_weights using (training)"
        " join training_set_members using (training_set, position) join samples using (sample_id)"
        " where method = 'lowest' and chosen_by is not null",
    )
    lines = (folder / "train.jsonl").read_text().splitlines(keepends=True)
    assert (tmp_path / "kept.jsonl").read_text() == "".join(lines[:place] + lines[place + 1 :])
    assert (found.kept, found.removed) == (3, 1)
    [reason] = csv.DictReader((tmp_path / "kept.removed.csv").read_text().splitlines())
    [(score,)] = rows(
        store.root,
        "select sum(influence) from influence join probe_members using (probe_id) join samples using (sample_id)"
        f" where estimator = 'leave_one_out' and name = '{gone}' and query_id[-1:] < '8'"
        " and query_id not in (select sample_id from training_set_members)",
    )
    assert (reason["row"], reason["id"], float(reason["score"])) == (str(place + 1), gone, pytest.approx(score))
    assert reason["text"] == " ".join(TEXTS[gone]) and "by leave_one_out" in reason["reason"]
    [(measured,)] = rows(
        store.root,
        "select value from desiderata"
        " where desideratum = 'removal' and variant = 'lowest 25%: nats' and domain = 'all'",
    )
    assert found.measured is not None and found.measured.value == measured is not None
    assert found.at_random is not None and found.predicted is not None


def test_the_command_says_what_the_training_without_them_did(removals: Removals, tmp_path: Path) -> None:
    spec, store, folder = removals
    given = ["clean", str(folder / "spec.yaml"), "--by", "mine.sql", "--share", "0.25", "--store", str(store.root)]
    said = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "kept.jsonl")])
    assert said.exit_code == 0, said.output
    assert "3 rows" in said.output and "moved a held-out query by" in said.output and "at random by" in said.output
    kept = (tmp_path / "kept.jsonl").read_text()
    assert kept == "".join((folder / "train.jsonl").read_text().splitlines(keepends=True)[1:])


def test_what_was_not_removed_in_a_training_is_refused_with_what_to_write(removals: Removals, tmp_path: Path) -> None:
    spec, store, _ = removals
    with pytest.raises(InputError, match=r"remove: \{by: ekfac, order: lowest, shares: 0.05\}"):
        clean(spec, store, tmp_path / "kept.jsonl", by="ekfac", share=0.05)
    with pytest.raises(InputError, match="`einfluence run` the spec first"):
        clean(spec, Store(tmp_path / "empty"), tmp_path / "kept.jsonl", by="leave_one_out", share=0.25)
    with pytest.raises(InputError, match="ends in .jsonl"):
        clean(spec, store, tmp_path / "kept.csv", by="leave_one_out", share=0.25)
    with pytest.raises(InputError, match="one of 0"):
        clean(spec, store, tmp_path / "kept.jsonl", by="leave_one_out", share=0.25, seed=7)
    assert not list(tmp_path.glob("kept*"))


def test_a_set_that_is_no_file_of_rows_is_refused(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "base: embedded:digits\nimages: {probes: 4, queries: 30}\ntraining_set: {batch_size: 2}\n"
        "arms: [{estimator: leave_one_out}]\nactions: [{remove: {by: leave_one_out}}]\n"
    )
    with pytest.raises(InputError, match="a training set from `images`"):
        clean(load_spec(spec), Store(tmp_path / "store"), tmp_path / "kept.jsonl", by="leave_one_out", share=0.1)
    spec.write_text(spec.read_text().replace("images: {probes: 4, queries: 30}", "samples: org/name"))
    with pytest.raises(InputError, match="a data set elsewhere"):
        clean(load_spec(spec), Store(tmp_path / "store"), tmp_path / "kept.jsonl", by="leave_one_out", share=0.1)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("select sample_id from training_set_members", "the columns sample_id"),
        ("select sample_id, 1 as score from training_set_members union all all_again", "Parser"),
        (
            "select sample_id, unnest([1, 2]) as score from training_set_members",
            "found 8 rows for 4 samples; expected one row a sample",
        ),
        ("select 'x' as sample_id, 1 as score", "the sample_id 'x', which is not in the set"),
        (
            "select sample_id, null as score from training_set_members",
            "found a score for 0 of 4 samples or groups; expected scores to choose by",
        ),
    ],
)
def test_a_query_that_gives_no_scores_is_refused(removals: Removals, query: str, found: str) -> None:
    spec, store, folder = removals
    (folder / "another.sql").write_text(query)
    [scene] = scenes(spec, find_part(spec, spec.parts[0]), store)
    with pytest.raises(InputError) as raised:
        by_query("another.sql", scene)
    assert found in str(raised.value)
