"""A store of version 1 is carried over: cells keep their numbers, and the same spec finds nothing missing.

``version-1.zip`` was written by the last commit whose stores were of version 1: three samples, each a probe, of
``embedded:world``, two seeds, and four arms (LoRA with restorations, full SGD, match by Adam, the prompt).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from typer.testing import CliRunner

import einfluence
from einfluence.errors import InputError
from einfluence.keys import content_hash, file_digest
from einfluence.recipe import of_its_kinds
from einfluence.spec import FineTune, Part, Spec
from einfluence.store import migrate as module
from einfluence.store.files import Files
from einfluence.store.log import ArmKey
from einfluence.store.migrate import migrate
from einfluence.store.store import Store
from einfluence.store.verify import verify
from flows.cli import app

# Labels of version 1 did not name an adapter's layers.
CELLS = (
    "select replace(r.label, ' layers [1]', '') as label, i.seed, i.probe_id, i.query_id, i.logprob_before, "
    "i.logprob_after, i.rank_after, i.n_tokens"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.unpack_archive(Path(__file__).with_name("version-1.zip"), tmp_path / "store")
    return tmp_path / "store"


def written(root: Path) -> list[tuple[Any, ...]]:
    """The cells of the files themselves, whatever reads stores today; of seeds that draw nothing the first."""
    files = f"read_parquet('{root}/influence/*/*/*.parquet', hive_partitioning = false)"
    recipes = f"read_parquet('{root}/recipes/*.parquet')"
    query = f"{CELLS} from {files} as i join {recipes} as r using (recipe) where i.seed = 0 or r.label like 'LoRA%'"
    return duckdb.sql(f"{query} order by all").fetchall()


def cells(store: Store) -> list[tuple[Any, ...]]:
    with store.connect() as connection:
        return connection.sql(f"{CELLS} from influence as i join recipes as r using (recipe) order by all").fetchall()


def part(root: Path) -> Part:
    """The part that the run was of, as its note has it."""
    note = json.loads(next((root / "runs").glob("*.json")).read_text())
    fields = note["spec"]["parts"][0]
    arms = [{**arm, "recipe": of_its_kinds(arm["recipe"])} for arm in fields["arms"]]
    return Part.model_validate({**fields, "arms": arms})


def missing(store: Store) -> int:
    [folder], [base] = store.curations(), [row["base"] for row in rows_of(store, "bases")]
    wanted = [
        ArmKey(base, arm.estimator, arm.recipe_id, seed, "1")
        for arm in part(store.root).arms
        for seed in ((0, 1) if arm.recipe.draws else (0,))
    ]
    restored = store.missing_ablations(folder, wanted[0], 64, 1)[1]
    return sum(block.cells for key in wanted for block in store.missing(folder, key, 64)) + len(restored)


def rows_of(store: Store, table: str) -> list[dict[str, Any]]:
    with store.connect() as connection:
        return connection.sql(f"select * from {table} order by all").to_arrow_table().to_pylist()


def counted(store: Store) -> dict[str, str]:
    """The checksums of all files that count, by name."""
    parts = {name for unit in store.units() for name in unit.files.values()}
    others = ("bases/", "recipes/", "curations/", "studies/", "deltas/", "desiderata/", "runs/", "report", "einfluence")
    names = parts.union(name for name in store.files.names("") if name.startswith(others))
    return {name: file_digest(store.root / name) for name in names}


def test_it_is_refused_with_the_command_that_carries_it_over(old: Path) -> None:
    with pytest.raises(
        InputError, match=r"a store of version 1; .*`einfluence verify --migrate --store .*store` carries"
    ):
        Store(old)
    done = CliRunner().invoke(app, ["verify", "--migrate", "--store", str(old)])
    assert (done.exit_code, "45 cells carried over" in done.stderr) == (0, True), done.output
    assert missing(Store(old)) == 0


def test_cells_keep_their_numbers_and_seeds_that_draw_nothing_become_one(old: Path) -> None:
    before = written(old)
    assert migrate(Store(old, check=False)) == len(before) == 45
    store = Store(old)
    assert cells(store) == before
    assert missing(store) == 0
    rows = rows_of(store, "influence")
    change = [row["logprob_after"] - row["logprob_before"] for row in rows]
    np.testing.assert_array_equal([row["influence"] for row in rows], change)
    assert sorted({(row["estimator"], row["seed"]) for row in rows}) == [
        ("finetune", 0), ("finetune", 1), ("in_context", 0)]  # fmt: skip
    assert migrate(store) == 0
    assert {fault.kind for fault in verify(store)[1]} == {"leftover"}  # the parts as they were, until it is tidied


def test_all_else_follows_its_arm(old: Path) -> None:
    kept = [path.name for path in old.glob("deltas/*/*/*")]
    scores = duckdb.sql(f"select * exclude (recipe) from '{old}/desiderata/current.parquet' order by all").fetchall()
    migrate(Store(old, check=False))
    store = Store(old)
    now = {arm.recipe_id: arm for arm in part(old).arms}
    for table in ("recipes", "outcomes", "layer_updates", "restorations", "desiderata"):
        assert {row["recipe"] for row in rows_of(store, table)} <= set(now), table
    assert len(rows_of(store, "outcomes")) == 15
    assert len({(row["seed"], row["place"]) for row in rows_of(store, "restorations")}) == 2
    base = rows_of(store, "bases")[0]["base"]
    [lora] = [arm for arm in now.values() if isinstance(arm, FineTune) and arm.recipe.adapter.kind == "lora"]
    found = {
        path.name
        for seed in (0, 1)
        for path in store.kept_deltas(
            ArmKey(base, "finetune", lora.recipe_id, seed, "1"), [name.split(".")[0] for name in kept]
        ).values()
    }
    assert kept
    assert found == set(kept)
    whole = duckdb.sql(f"select * exclude (recipe) from '{old}/desiderata/current.parquet' order by all").fetchall()
    assert repr(whole) == repr(scores)


def test_killed_before_any_change_of_the_disk_it_can_be_done_again(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, moments = written(old), list[Path]()
    monkeypatch.setattr(os, "fsync", lambda _: None)  # this process stays; test_crash.py holds the order of syncs

    def watched(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            # Files are replaced, never changed, so that links keep them as they are at this moment.
            moment = old.with_name(f"moment-{len(moments)}")
            moments.append(Path(shutil.copytree(old, moment, copy_function=os.link)))
            return change(*arguments, **more)

        return call

    with monkeypatch.context() as patch:
        for name in ("put", "delete"):
            patch.setattr(Files, name, watched(getattr(Files, name)))
        migrate(Store(old, check=False))
    assert cells(Store(old)) == before
    assert missing(Store(old)) == 0
    assert len(moments) > 20
    whole = counted(Store(old))
    for moment in moments:
        assert json.loads((moment / "einfluence.json").read_text())["store_version"] == 1
        migrate(Store(moment, check=False))
        assert counted(Store(moment)) == whole, moment


def test_what_is_no_store_of_version_1_or_not_whole_is_refused(old: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store"):
        migrate(Store(tmp_path / "nothing", check=False))
    lost = next(old.glob("outcomes/*/*/*.parquet"))
    lost.unlink()
    with pytest.raises(InputError, match=r"parts that the log names and nobody has.*`einfluence verify --repair`"):
        migrate(Store(old, check=False))
    done = CliRunner().invoke(app, ["verify", "--migrate", "--store", str(old)])
    assert done.exit_code == 1
    assert json.loads((old / "einfluence.json").read_text())["store_version"] == 1
    (old / "einfluence.json").write_text(json.dumps({"store_version": 7}))
    with pytest.raises(InputError, match="a store of version 7"):
        migrate(Store(old, check=False))


@pytest.mark.parametrize("harm", ["deleted", "damaged", "of no version"])
def test_a_lost_marker_hides_no_store_of_version_1(old: Path, harm: str) -> None:
    before, marker = written(old), old / "einfluence.json"
    marker.unlink() if harm == "deleted" else marker.write_text("{" if harm == "damaged" else "{}")
    files = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    note = json.loads(next((old / "runs").glob("*.json")).read_text())
    with pytest.raises(InputError, match="einfluence verify --repair"):
        einfluence.measure(Spec.model_validate({**note["spec"], "parts": [part(old)]}), old)
    for flags in ([], ["--migrate"]):
        done = CliRunner().invoke(app, ["verify", "--store", str(old), *flags])
        kind = "missing" if harm == "deleted" else "damaged"
        assert (done.exit_code, f"{kind}: einfluence.json" in done.stdout) == (1, True), done.output
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == files

    assert CliRunner().invoke(app, ["verify", "--repair", "--store", str(old)]).exit_code == 0
    assert json.loads(marker.read_text())["store_version"] == 1
    with pytest.raises(InputError, match=r"a store of version 1; .*`einfluence verify --migrate"):
        Store(old)
    done = CliRunner().invoke(app, ["verify", "--migrate", "--store", str(old)])
    assert (done.exit_code, "45 cells carried over" in done.stderr) == (0, True), done.output
    assert cells(Store(old)) == before
    assert missing(Store(old)) == 0


def test_a_marker_that_is_lost_while_a_run_goes_on_is_written_as_of_the_version_of_the_parts(old: Path) -> None:
    before, late = written(old), Store(old, check=False)
    (old / "einfluence.json").unlink()
    with pytest.raises(InputError, match="a store of version 1"):
        late.open_for_writing()
    assert json.loads((old / "einfluence.json").read_text())["store_version"] == 1
    migrate(late)
    (old / "einfluence.json").unlink()
    verify(Store(old, check=False), repair=True)  # its former parts are still there: it might have been killed half-way
    migrate(Store(old, check=False))
    assert cells(Store(old)) == before
    store = Store(old)
    store.tidy(grace=0.0)
    (old / "einfluence.json").unlink()
    Store(old).open_for_writing()
    assert cells(Store(old)) == before


def test_chats_that_began_with_two_bos_tokens_stay_behind() -> None:
    said = {"estimator": "in_context", "recipe": {"join": None, "chat": True, "dtype": "float32"}}
    assert module._version_1(said) == content_hash((content_hash(said), "one bos"))
    plain = {**said, "recipe": {**said["recipe"], "chat": False}}
    assert module._version_1(plain) == content_hash(plain)
