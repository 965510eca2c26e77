"""The command line as a contract: output, exit codes, messages."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows import cli

Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs a command in this process: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["einfluence", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: Path) -> Path:
    """A folder with a small study that `einfluence run` has measured: its own process, a real Prefect server."""
    folder = tmp_path_factory.mktemp("first")
    rows = [("a", "dax is a", "bird"), ("b", "wug is a", "fish"), ("c", "dax has", "wings")]
    lines = [json.dumps({"id": name, "prompt": prompt, "target": target}) for name, prompt, target in rows]
    (folder / "samples.jsonl").write_text("\n".join(lines))
    arms = [{"recipe": {"lr": 0.01, "steps": 2}}, {"estimator": "in_context"}]
    spec = {"name": "small", "base": str(gpt2_folder), "samples": "samples.jsonl", "arms": arms}
    (folder / "spec.yaml").write_text(json.dumps(spec))
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "spec.yaml", "--store", "store", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PREFECT_HOME": str(folder / "prefect")},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    (folder / "stdout").write_text(ended.stdout)
    (folder / "stderr").write_text(ended.stderr)
    return folder


def test_run_ends_with_one_json_object_on_stdout(first: Path) -> None:
    said = json.loads((first / "stdout").read_text())
    assert list(said) == ["wanted", "present", "computed", "failed", "seconds", "store", "report"]
    assert (said["wanted"], said["present"], said["computed"], said["failed"]) == (18, 0, 18, 0)
    assert said["store"] == str(first / "store") and Path(said["report"]).is_file()


def test_prefect_is_quiet(first: Path) -> None:
    assert "prefect" not in (first / "stderr").read_text().lower()


def test_a_run_with_nothing_to_do_says_so_and_starts_no_server(
    first: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(first)
    monkeypatch.setitem(sys.modules, "flows.measure", None)  # importing the flow would fail
    code, out, err = said("run", "spec.yaml", "--store", "store", "--json")
    assert code == 0 and "nothing to do" in err
    assert json.loads(out)["present"] == json.loads(out)["wanted"] == 18


def test_sql_reads_the_views_in_every_format(first: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    store = str(first / "store")
    query = "select estimator, count(*) as cells from influence group by all order by all"
    expected = [{"estimator": "finetune", "cells": 9}, {"estimator": "in_context", "cells": 9}]
    assert json.loads(said("sql", query, "--store", store, "--format", "json")[1]) == expected
    assert "in_context" in said("sql", query, "--store", store)[1]
    for output in ("csv", "parquet"):
        buffer = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdout", buffer)
        said("sql", query, "--store", store, "--format", output)
        raw = buffer.buffer.getvalue()
        if output == "csv":
            assert raw.decode().splitlines() == ['"estimator","cells"', '"finetune",9', '"in_context",9']
        else:
            assert pq.read_table(io.BytesIO(raw)).to_pylist() == expected


def test_sql_alone_lists_every_table_and_column(said: Said) -> None:
    from einfluence.store.schema import TABLES

    code, out, _ = said("sql")
    assert code == 0
    for name, schema in TABLES.items():
        assert f"\n{name}: " in out
        assert all(f"  {field.name} " in out for field in schema)


@pytest.mark.parametrize(
    "query",
    [
        "copy influence to 'x.parquet'",
        "create table x (i int)",
        "select 1; select 2",
        "set threads = 1",
        "from read_csv('/etc/passwd')",
        "from read_text('/etc/hostname')",
        "select nothing from influence",
        "selekt",
    ],
)
def test_sql_only_reads_and_only_the_store(first: Path, said: Said, query: str) -> None:
    code, out, err = said("sql", query, "--store", str(first / "store"))
    assert code == 2 and out == "" and err.startswith("error: sql: found")


def test_a_report_is_written_where_it_is_wanted(first: Path, said: Said, tmp_path: Path) -> None:
    out = tmp_path / "mine.html"
    assert said("report", "--store", str(first / "store"), "--out", str(out))[0] == 0
    assert "<html" in out.read_text()[:500]


def test_plan_counts_what_is_there_and_computes_nothing(
    first: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(first)
    code, out, _ = said("plan", "spec.yaml", "--store", "store")
    assert code == 0 and out.count("9 cells wanted, 9 present, 0 missing: 0 probes") == 2
    code, out, _ = said("plan", "spec.yaml", "--store", "elsewhere")
    assert out.count("9 cells wanted, 0 present, 9 missing: 3 probes") == 2
    assert not (first / "elsewhere").exists()


def test_curate_says_what_it_made_and_writes_the_tables(
    first: Path, said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(first)
    code, out, _ = said("curate", "spec.yaml", "--out", str(tmp_path))
    assert code == 0 and "3 samples, 3 probes" in out
    assert pq.read_table(tmp_path / "main" / "relations.parquet").num_rows == 9
    assert "counterfact" in said("curate", "--sources")[1]


def test_show_prints_the_scorecard_and_a_probe(first: Path, said: Said) -> None:
    store = str(first / "store")
    assert "Learns itself" in said("show", "--store", store)[1]
    assert "dax is a" in said("show", "a", "--store", store)[1]
    assert said("show", "nobody", "--store", store)[0] == 2


def test_compare_pairs_two_sides(first: Path, said: Said, tmp_path: Path) -> None:
    store, out = str(first / "store"), tmp_path / "pairs.csv"
    code, shown, _ = said("compare", store, store, "--out", str(out))
    assert code == 0 and "difference" in shown
    assert "finetune" in out.read_text()
    assert said("compare", "nothing such", store, "--store", store)[0] == 2


def test_check_exits_with_three_when_a_requirement_falls_short(first: Path, said: Said) -> None:
    store = str(first / "store")
    code, out, _ = said("check", "--require", "gate>=1.1", "--store", store)
    assert code == 3 and "gate>=1.1" in out
    assert said("check", "--require", "gate is good", "--store", store)[0] == 2


def test_figures_are_written_as_files(first: Path, said: Said, tmp_path: Path) -> None:
    code, out, _ = said("figures", str(tmp_path), "--store", str(first / "store"))
    assert code == 0 and all(Path(line).read_text().startswith("<svg") for line in out.splitlines()) and out


def test_init_writes_a_study_that_loads_and_overwrites_nothing(said: Said, tmp_path: Path) -> None:
    from einfluence.spec import load_spec

    folder = tmp_path / "mine"
    code, out, _ = said("init", str(folder))
    assert code == 0 and len(out.splitlines()) == 3
    assert load_spec(folder / "spec.yaml").parts[0].relations == "relations.csv"
    code, _, err = said("init", str(folder))
    assert code == 2 and "is there already" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "none.yaml"], "none.yaml"),
        (["sql", "from influence", "--store", "nowhere"], "holds no store"),
        (["report", "--store", "nowhere"], "holds no store"),
        (["run", "--runner", "magic"], "magic"),
        (["fly"], "fly"),
    ],
)
def test_bad_input_exits_with_two_and_no_traceback(said: Said, arguments: list[str], says: str) -> None:
    code, _, err = said(*arguments)
    assert code == 2 and says in err and "Traceback" not in err


def test_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "prefect", "duckdb", "pyarrow", "numpy"}
    code = f"import sys; from flows import cli; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"
