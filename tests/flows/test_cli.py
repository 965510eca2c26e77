"""The command line as a contract: output, exit codes, messages."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from einfluence.errors import InputError
from einfluence.runners import reach
from flows.commands.options import usable
from tests.flows.conftest import Said

RECORDED = """
import json, os, time, urllib.request
from flows import cli

def asked(what):
    url, kind = f"{os.environ['PREFECT_API_URL']}/{what}/filter", {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, b"{}", kind), timeout=30) as answer:
        return json.load(answer)

try:
    cli.main()
finally:
    until = time.monotonic() + 30
    while time.monotonic() < until and any(run["state_type"] != "COMPLETED" for run in asked("task_runs")):
        time.sleep(0.2)
    tables = {table: asked(table) for table in ("flow_runs", "task_runs", "artifacts", "logs")}
    open("recorded.json", "w").write(json.dumps(tables))
"""  # the command, and what Prefect's server knows of it before the two end


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
        [sys.executable, "-c", RECORDED, "run", "spec.yaml", "--store", "store", "--json"],
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


def test_the_server_of_a_run_records_the_flow_its_tasks_and_their_artifacts(first: Path) -> None:
    known = json.loads((first / "recorded.json").read_text())
    [flow] = known["flow_runs"]
    assert (flow["name"], flow["state_type"]) == ("measure spec.yaml", "COMPLETED")
    shards, steps = [], []
    for run in known["task_runs"]:
        (shards if "3 probes x 3 queries" in run["name"] else steps).append(run["name"])
    assert sorted(steps) == ["curate main", "plan missing cells", "score and report"]
    assert len(shards) == 2 and {run["state_type"] for run in known["task_runs"]} == {"COMPLETED"}
    assert {made["key"] for made in known["artifacts"]} == {"plan", "scorecard", "report", None}
    assert sum(": probes " in line["message"] for line in known["logs"]) == 2


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


def test_a_run_with_nothing_to_do_imports_nothing_that_computes(first: Path) -> None:
    heavy = {"torch", "scipy", "transformers", "prefect"}
    code = f"import atexit, sys; atexit.register(lambda: print(sorted({heavy} & set(sys.modules)))); "
    code += "from flows.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "run", "spec.yaml", "--store", "store"],
        cwd=first, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "nothing to do" in ended.stderr and ended.stdout.splitlines()[-1] == "[]"


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


def test_blame_names_the_samples_that_raised_or_lowered_a_query(first: Path, said: Said) -> None:
    store = str(first / "store")
    code, shown, _ = said("blame", "a", "--store", store)
    assert code == 0 and "finetune" in shown and "because of" in shown and "dax is a" in shown
    rows = json.loads(said("blame", "a", "--most", "1", "--json", "--store", store)[1])
    by_arm = itertools.groupby(rows, key=lambda row: (row["base"], row["estimator"], row["recipe"]))
    for _, arm in by_arm:
        most, least = itertools.islice(arm, 2)
        assert most["influence"] > least["influence"] and most["seeds"] == 1
    assert said("blame", "a", "--csv", "--store", store)[1].startswith('"base","estimator"')
    assert said("blame", "nobody", "--store", store)[0] == 2
    assert said("blame", "a", "--estimator", "subsets", "--store", store)[0] == 2


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


def test_init_from_a_file_of_the_users_own(said: Said, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "dax is a", "completion": " bird"}\n')
    own = ["init", str(tmp_path / "mine"), "--from", str(tmp_path / "train.jsonl")]
    code, out, err = said(*own, "--base", "embedded:world")
    assert (code, out) == (0, f"{tmp_path / 'mine' / 'spec.yaml'}\n")
    assert "1 row of TRL prompt and completion (prompt, completion)" in err
    code, _, err = said(*own)
    assert code == 2 and "expected both" in err
    own[1] = str(tmp_path / "other")
    code, _, err = said(*own, "--base", str(tmp_path / "nowhere"))
    assert code == 2 and "nowhere" in err and not (tmp_path / "other" / "spec.yaml").exists()


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


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: Path) -> Path:
    """A store whose names and texts hold what terminals obey."""
    import einfluence

    folder = tmp_path_factory.mktemp("nasty")
    odd = [
        "nul\u0000",
        "red \u001b[31m bell\u0007",
        "\u202eturned\u202c",
        "del\u007f \u009b31m",
        "[bold]no markup[/bold]",
    ]
    rows = [{"id": text, "prompt": f"the {text}", "target": f"bird {text}", "group": text} for text in odd]
    (folder / "samples.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    spec = {"base": str(gpt2_folder), "samples": "samples.jsonl", "arms": [{"recipe": {"steps": 1}}]}
    (folder / "spec.yaml").write_text(json.dumps({"parts": {"part \u001b[31m": spec}}))
    einfluence.measure(folder / "spec.yaml", folder / "store", report=False)
    return folder


OBEYED = set("\x00\x07\x1b\x7f\x9b\u202e")


def test_no_character_that_a_terminal_obeys_comes_from_data(
    nasty: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, query = str(nasty / "store"), 'select name, target as "an \x1b[31m" from samples order by name'
    shown = {
        "sql": said("sql", query, "--store", store),
        "json": said("sql", query, "--store", store, "--format", "json"),
        "show": said("show", "--store", store),
        "probe": said("show", "red \x1b[31m bell\x07", "--store", store),
        "curate": said("curate", str(nasty / "spec.yaml")),
        "error": said("show", "no \x1b[31m probe", "--store", store),
        "plan": said("plan", str(nasty / "spec.yaml"), "--store", store),
    }
    for name, (code, out, err) in shown.items():
        assert code == (2 if name == "error" else 0), err
        assert not OBEYED & set(out + err), name
    assert "red ␛[31m bell␇" in shown["sql"][1] and "[bold]no markup" in shown["sql"][1]
    assert "[" in shown["curate"][1] and "\\[" not in shown["curate"][1], "brackets are shown as they are"
    names = [row["name"] for row in json.loads(shown["json"][1])]
    assert "nul\x00" in names and "\u202eturned\u202c" in names and "del\x7f \x9b31m" in names

    def csv(terminal: bool) -> bytes:
        buffer = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", buffer)
        monkeypatch.setattr(buffer, "isatty", lambda: terminal, raising=False)
        said("sql", query, "--store", store, "--format", "csv")
        buffer.flush()
        return buffer.buffer.getvalue()

    assert "red \x1b[31m bell\x07" in csv(False).decode() and not OBEYED & set(csv(True).decode())


def test_parquet_is_not_written_to_a_terminal(first: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    code, _, err = said("sql", "select 1", "--store", str(first / "store"), "--format", "parquet")
    assert code == 2 and "found a terminal; expected a file or a pipe" in err


@pytest.mark.parametrize("query", ["select 'x'::int", "select name::int from samples", "select error('no')"])
def test_sql_that_fails_while_it_runs_is_told(first: Path, said: Said, query: str) -> None:
    code, _, err = said("sql", query, "--store", str(first / "store"))
    assert code == 2 and err.startswith("error: sql: found")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "--store", "s3:/bucket/x"], "Did you mean s3://bucket/x?"),
        (["show", "--store", ""], "--store: found ''"),
        (["show", "--store", "a" * 300], "--store: found"),
        (["show", "--store", "nothing://x"], "a URL that fsspec reads"),
        (["compare", "nowhere", "elsewhere", "--store", "nowhere"], "holds no store"),
        (["serve", "--cron", "every night"], "--cron: found 'every night'"),
        (["serve", "--cron", ""], "--cron: found ''"),
        (["serve", "--watch", "nothing-there"], "which is not there"),
        (["serve", "--port", "0"], "--port"),
        (["explore", "--port", "70000"], "--port"),
        (["run", "--dask-address", "tcp://127.0.0.1:1"], "--dask-address: found an address beside --runner inline"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_starts(
    said: Said, arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "flows.server", None)  # importing it would fail
    code, _, err = said(*arguments)
    assert code == 2 and says in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_runners_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for runner in ("dask", "ray"):
        with pytest.raises(InputError, match=rf"pip install 'einfluence\[{runner}\]'"):
            usable(runner, None, "auto")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: "it is there")
    for address in ("tcp://127.0.0.1:1", "127.0.0.1", "tcp://no-such-host.invalid:8786", "tcp://127.0.0.1:99999"):
        with pytest.raises(InputError, match="runner: found .*scheduler that runs"):
            reach(usable("dask", address, "auto"))


def test_a_run_with_nothing_to_do_needs_no_scheduler_but_a_runner_that_exists(
    first: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(first)
    code, _, err = said("run", "spec.yaml", "--store", "store", "--runner", "dask://127.0.0.1:1")
    assert code == 0 and "nothing to do" in err
    code, _, err = said("run", "spec.yaml", "--store", "elsewhere", "--runner", "dask://127.0.0.1:1")
    assert code == 2 and "a Dask scheduler that runs" in err and not (first / "elsewhere").exists()
    code, _, err = said("run", "spec.yaml", "--store", "store", "--runner", "magic")
    assert code == 2 and "'magic'; expected one of inline, threads, processes, dask, ray" in err


@pytest.mark.parametrize("command", [["plan", "--store", "elsewhere"], ["curate"]])
def test_what_loads_a_base_takes_a_device(
    first: Path, said: Said, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(first)
    assert said(command[0], "spec.yaml", *command[1:], "--device", "cpu")[0] == 0
    code, _, err = said(command[0], "spec.yaml", *command[1:], "--device", "cuda:9")
    assert code == 2 and "'cuda:9'; expected auto or one that is there: cpu" in err


@pytest.mark.parametrize("command", ["report", "figures", "curate", "init"])
def test_a_place_that_cannot_be_written_is_told(first: Path, said: Said, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("no folder")
    place = str(tmp_path / "file" / "x")
    store = ["--store", str(first / "store")]
    arguments = {
        "report": ["--out", place, *store],
        "figures": [place, *store],
        "curate": [str(first / "spec.yaml"), "--out", place],
        "init": [place],
    }
    code, _, err = said(command, *arguments[command])
    assert code == 2 and "file" in err and "Traceback" not in err, err


def test_a_part_whose_name_leads_elsewhere_is_not_written(first: Path, said: Said, tmp_path: Path) -> None:
    spec = json.loads((first / "spec.yaml").read_text())
    part = {**{key: spec[key] for key in ("base", "arms")}, "samples": str(first / "samples.jsonl")}
    (tmp_path / "spec.yaml").write_text(json.dumps({"parts": {"../out": part}}))
    code, _, err = said("curate", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "in"))
    assert code == 2 and "a folder in --out" in err and not (tmp_path / "out").exists()


def test_whoever_reads_the_output_may_stop(first: Path) -> None:
    query = "select i, repeat('x', 1000) from range(5000) as t(i)"
    for output in ("csv", "json", "table"):
        ended = subprocess.run(
            f'"{sys.executable}" -m flows.cli sql "{query}" --store store --format {output} | head -c 10',
            cwd=first,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            shell=True,
            capture_output=True,
        )
        assert ended.stderr == b""


def test_plan_takes_the_curation_that_is_there_and_writes_nothing(
    first: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from einfluence import prepare
    from einfluence.keys import file_digest

    def state() -> dict[Path, str]:
        return {path: file_digest(path) for path in (first / "store").rglob("*") if path.is_file()}

    monkeypatch.chdir(first)
    monkeypatch.setattr(prepare, "curated_part", None)  # curating would fail
    before = state()
    code, out, err = said("plan", "spec.yaml", "--store", "store")
    assert code == 0 and out.count("9 cells wanted, 9 present") == 2, err
    assert state() == before


def test_a_failure_amid_a_query_ends_with_its_message_alone() -> None:
    program = """
import builtins, threading
import duckdb
from flows import cli

def app():
    connection = duckdb.connect()
    found = connection.sql("select 1")
    builtins.kept = ValueError("told once")  # as a log or a thread of Prefect's may keep it
    threading.Thread(target=lambda _: threading.Event().wait(), args=(builtins.kept,), daemon=True).start()
    raise builtins.kept

cli.app = app
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "error: ValueError: told once (-v shows where)\n")
