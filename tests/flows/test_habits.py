"""What all commands have in common: exit codes, `--quiet`, `--version`, colours, names of options, completion."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import signal
import subprocess
import sys
import typing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

import einfluence
from einfluence.store.store import Store
from flows import cli
from flows.commands import run as run_command
from tests.flows.conftest import Said

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, gpt2_folder: Path) -> Path:
    """A folder with a spec and a store of three samples, one of which cannot be learned: its numbers overflow."""
    folder = tmp_path_factory.mktemp("study")
    rows = [("a", "dax is a", "bird"), ("b", "wug is a", "fish"), ("c", "dax has", "wings")]
    lines = [json.dumps({"id": name, "prompt": prompt, "target": target}) for name, prompt, target in rows]
    (folder / "samples.jsonl").write_text("\n".join(lines))
    for name, lr in (("spec", 0.01), ("burst", 1e38)):
        recipe = {"lr": lr, "steps": 2, "optimizer": "sgd", "clip": None}
        spec = {"name": name, "base": str(gpt2_folder), "samples": "samples.jsonl", "arms": [{"recipe": recipe}]}
        (folder / f"{name}.yaml").write_text(json.dumps(spec))
    einfluence.measure(folder / "spec.yaml", folder / "store", report=False)
    return folder


@pytest.fixture
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """`einfluence run` measures in this process, without a server; all else of the command is as it is."""

    def measured(file: Path, _spec: Any, store: Store, *_: Any) -> Any:
        return einfluence.measure(file, store.url, report=False)

    monkeypatch.setattr(run_command, "_server", lambda _: lambda: None)
    monkeypatch.setattr(run_command, "_measured", measured)


def codes_of_the_page() -> set[int]:
    table = PAGE.split("| exit code |")[1].split("\n\n")[0]
    return {int(code) for line in table.splitlines()[2:] for code in re.findall(r"`(\d+)`", line.split("|")[1])}


def test_the_page_has_every_exit_code_that_a_test_here_provokes_and_no_other() -> None:
    assert codes_of_the_page() == {0, 1, 2, 3, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGPIPE}


def test_0_when_all_is_done(said: Said, study: Path, without_prefect: None) -> None:
    code, out, err = said("run", str(study / "spec.yaml"), "--store", str(study / "fresh"))
    assert code == 0 and "9 computed" in out and err == ""


def test_1_when_probes_failed_and_quiet_still_names_them(said: Said, study: Path, without_prefect: None) -> None:
    store = str(study / "burst")
    code, out, err = said("run", str(study / "burst.yaml"), "--store", store, "--quiet")
    assert code == 1 and out == "" and "failed: probe " in err and "loss is nan" in err


def test_1_when_a_file_of_the_store_is_damaged(said: Said, study: Path) -> None:
    einfluence.measure(study / "spec.yaml", study / "harmed", report=False)
    [part, *_] = sorted((study / "harmed" / "influence").rglob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    code, out, err = said("verify", "--store", str(study / "harmed"))
    assert code == 1 and out.startswith("damaged: ") and "1 faults" in err
    code, out, err = said("verify", "--store", str(study / "harmed"), "-q")
    assert code == 1 and out.startswith("damaged: ") and err == ""


def test_1_when_an_error_was_not_foreseen(said: Said, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "connect", lambda self: 1 / 0)
    arguments = ("show", "--store", str(study / "store"))
    code, _, err = said(*arguments)
    assert code == 1 and err == "error: ZeroDivisionError: division by zero (-v shows where)\n"
    code, _, err = said(*arguments, "-v")
    assert code == 1 and "Traceback" in err, "the option that the message names is one of every command"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "none.yaml"),
        ("show", "--store", "nowhere"),
        ("show", "--colour"),
        ("fly",),
        ("blame", "a", "--limit", "0"),
    ],
)
def test_2_when_an_argument_cannot_be_used(said: Said, arguments: tuple[str, ...]) -> None:
    assert said(*arguments)[0] == 2


def test_3_when_a_requirement_is_not_met(said: Said, study: Path) -> None:
    code, out, _ = said("check", "--require", "gate>=1.1", "--store", str(study / "store"), "--json")
    assert code == 3 and json.loads(out)[0]["requirement"] == "gate>=1.1"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_130_and_143_when_a_run_is_stopped(
    said: Said, study: Path, without_prefect: None, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(run_command, "_measured", lambda *_: os.kill(os.getpid(), number))
    code, _, err = said("run", str(study / "spec.yaml"), "--store", str(study / "stopped"), "-q")
    assert code == 128 + number and err.startswith("stopped: what was finished is kept")


def test_141_when_nobody_reads_on() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "flows.cli", "sql"]
    ended = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_quiet_leaves_results_and_drops_notes(said: Said, study: Path, tmp_path: Path) -> None:
    store = ("--store", str(study / "store"))
    loud, quiet = said("init", str(tmp_path / "a")), said("init", str(tmp_path / "b"), "-q")
    assert "now: einfluence run" in loud[2] and quiet[2] == ""
    assert quiet[1] == loud[1].replace(str(tmp_path / "a"), str(tmp_path / "b"))
    assert said("show", *store, "-q") == said("show", *store)
    code, out, err = said("run", str(study / "spec.yaml"), *store, "-q", "--json")
    assert code == 0 and json.loads(out)["present"] == 9 and err == ""


def test_the_version_is_that_of_the_package(said: Said) -> None:
    assert said("--version") == (0, f"einfluence {version('einfluence')}\n", "")
    assert einfluence.__version__ == version("einfluence")


def printed_to_a_terminal(arguments: list[str], **environment: str) -> str:
    """What a command prints where its stdout is a terminal."""
    ours, theirs = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *arguments],
        env={**clean, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environment},
        stdout=theirs,
    )
    os.close(theirs)
    read = b""
    try:
        while block := os.read(ours, 65536):
            read += block
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return read.decode()


def test_no_color_is_honoured(study: Path) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*\b(3[0-7]|9[0-7]|38|4[0-7]|48)[;m]")
    arguments = ["show", "--store", str(study / "store")]
    assert coloured.search(printed_to_a_terminal(arguments)) is not None
    assert coloured.search(printed_to_a_terminal(arguments, NO_COLOR="1")) is None


def commands() -> dict[str, Any]:
    return typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def test_an_option_means_the_same_in_every_command() -> None:
    """One name, one type; a result's place is --out, a store --store, rows --format."""
    types: dict[str, set[Any]] = {}
    for name, command in commands().items():
        shown = {option: param for param in command.params for option in param.opts if option.startswith("--")}
        assert {"--quiet", "--verbose"} <= set(shown), name
        assert shown["--quiet"].opts == ["-q", "--quiet"] and shown["--verbose"].opts == ["-v", "--verbose"]
        annotations = inspect.signature(command.callback).parameters
        for option, param in shown.items():
            if param.name in annotations and (option, name) != ("--format", "figures"):
                types.setdefault(option, set()).add(typing.get_args(annotations[param.name].annotation)[0])
            assert param.hidden or param.help, f"{name} {option}"
        rows = shown.get("--format")
        assert rows is None or name == "figures" or "--json" in shown, name
    plain = {
        option: {kind if kind != kind | None else typing.get_args(kind)[0] for kind in kinds}
        for option, kinds in types.items()
    }
    assert {option: kinds for option, kinds in plain.items() if len(kinds) > 1} == {}


def test_former_names_of_options_are_taken(said: Said, study: Path, tmp_path: Path) -> None:
    store = ("--store", str(study / "store"))
    assert said("blame", "a", "--most", "1", "--csv", *store) == said(
        "blame", "a", "--limit", "1", "--format", "csv", *store
    )
    assert said("sql", "select 1 as n", *store, "--json")[1] == '[{"n": 1}]\n'
    for place in ([str(tmp_path / "figures")], ["--out", str(tmp_path / "figures")]):
        code, out, _ = said("figures", *place, *store)
        assert code == 0 and all(Path(line).parent == tmp_path / "figures" for line in out.splitlines())
    for name in ("--first", "--limit"):
        code, out, _ = said("curate", str(study / "spec.yaml"), "--tokens", name, "1")
        assert code == 0 and out.count(" trained): ") == 1


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("einfluence su", {"suspects"}),
        ("einfluence verify --re", {"--repair"}),
        ("einfluence sql --format pa", {"parquet"}),
    ],
)
def test_a_shell_is_helped_to_complete_commands_options_and_values(words: str, completed: set[str]) -> None:
    asked = {"_EINFLUENCE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    program = "import sys; sys.argv[0] = 'einfluence'; from flows.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **asked}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (ended.returncode, set(ended.stdout.split())) == (0, completed), ended.stderr
