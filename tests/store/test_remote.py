"""A store in an object store, over a real S3 protocol server on loopback."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from einfluence.errors import InputError
from einfluence.store.migrate import migrate
from einfluence.store.mirror import Mirrored
from einfluence.store.store import Store
from einfluence.store.verify import verify
from tests.store.made_up import ARM, computed, prepared, rows, run

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

KEY = "c" * 20
ROOT = Path(__file__).parents[2]

# s3fs leaves its event loop's sockets to the interpreter's end.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


@pytest.fixture(scope="module")
def bucket() -> Generator[str]:
    """The URL of an empty bucket; its server and credentials are in the environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "a-secret-that-must-not-be-written",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="here")
        yield "s3://here"
        server.stop()


def _mirror(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Another machine: nothing of the bucket is cached."""
    monkeypatch.setenv("EINFLUENCE_CACHE", str(folder))


def test_a_store_of_version_1_is_carried_over(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.unpack_archive(Path(__file__).with_name("version-1.zip"), tmp_path / "old")
    _mirror(monkeypatch, tmp_path / "one")
    there = Mirrored(f"{bucket}/old")
    for path in sorted((tmp_path / "old").rglob("*")):
        if path.is_file():
            there.put(path.relative_to(tmp_path / "old").as_posix(), path.read_bytes())
    there.delete("einfluence.json")
    with pytest.raises(InputError, match="a store of version 1; .*verify --repair --migrate"):
        Store(f"{bucket}/old")
    assert [fault.name for fault in verify(Store(f"{bucket}/old", check=False), repair=True)[1]] == ["einfluence.json"]
    assert verify(Store(f"{bucket}/old", check=False))[1] == []
    assert migrate(Store(f"{bucket}/old", check=False)) == migrate(Store(tmp_path / "old", check=False)) == 45
    _mirror(monkeypatch, tmp_path / "two")
    seen = Store(f"{bucket}/old")
    theirs, ours = (sorted(map(repr, rows(store).to_pylist())) for store in (seen, Store(tmp_path / "old")))
    assert theirs == ours
    assert {fault.kind for fault in verify(seen)[1]} == {"leftover"}


def test_same_keys_and_tables_as_in_a_folder(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = prepared(tmp_path / "local")
    run(here, KEY)
    here.tidy()
    _mirror(monkeypatch, tmp_path / "one")
    there = prepared(f"{bucket}/same")
    assert run(there, KEY) == 12
    there.tidy()
    _mirror(monkeypatch, tmp_path / "two")
    seen = Store(f"{bucket}/same")
    assert seen.root != there.root and seen.url == f"{bucket}/same"
    assert rows(seen).equals(rows(here))
    assert run(seen, KEY) == 0
    parts = {name.rsplit("/", 1)[1] for name in seen.files.names("influence")}
    assert parts == {Path(name).name for name in here.part_paths("influence")}
    assert verify(seen)[1] == []
    written = [path.read_bytes() for path in seen.root.rglob("*") if path.is_file()]
    assert not any(b"a-secret-that-must-not-be-written" in data for data in written)


def test_of_two_writers_of_one_log_entry_the_second_reads_on(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mirror(monkeypatch, tmp_path / "one")
    first = prepared(f"{bucket}/two")
    blocks = first.missing(first.root / "curations" / KEY, ARM, 6)
    _mirror(monkeypatch, tmp_path / "two")
    second = Store(f"{bucket}/two")
    assert second.files.put("log/00000001.json", b"{}", new=True)
    assert not first.files.put("log/00000001.json", b"{}", new=True)
    second.files.delete("log/00000001.json")
    for path in (tmp_path / "one").rglob("00000001.json"):
        path.unlink()
    assert [store.add_part(ARM, computed(blocks[0])) for store in (first, second)] == [30, 0]
    second.add_part(ARM, computed(blocks[1]))
    assert rows(Store(f"{bucket}/two")).num_rows == 60


def test_damage_in_the_bucket_is_found_set_aside_and_mended(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mirror(monkeypatch, tmp_path / "one")
    store = prepared(f"{bucket}/harm")
    run(store, KEY)
    before = rows(store)
    damaged, gone = store.files.names("influence")[:2]
    store.files.put(damaged, b"PAR1 and no more")
    store.files.delete(gone)
    faults = {(fault.name, fault.kind) for fault in verify(Store(f"{bucket}/harm"), repair=True)[1]}
    assert {(damaged, "damaged"), (gone, "missing")} <= faults
    assert run(Store(f"{bucket}/harm"), KEY) == 8
    assert rows(Store(f"{bucket}/harm")).equals(before)


def test_a_bucket_that_is_not_there_is_told(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mirror(monkeypatch, tmp_path)
    with pytest.raises(InputError, match="s3://nowhere"):
        Store("s3://nowhere/at-all").open_for_writing()
    with pytest.raises(InputError, match="--store"):
        Store("nothing://reads/this")


def test_a_mirror_is_replaced_in_place_while_others_read_it(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mirror(monkeypatch, tmp_path / "one")
    url = f"{bucket}/shared"
    store = prepared(url)
    run(store, KEY)
    store.files.put("report.html", b"old")
    _mirror(monkeypatch, tmp_path / "elsewhere")
    Store(url).files.put("report.html", b"new")
    _mirror(monkeypatch, tmp_path / "one")
    before = {path for path in store.root.rglob("*") if path.is_file()}
    gone: set[Path] = set()

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path in before:
            gone.add(path)
        with suppress(FileNotFoundError):
            os.unlink(path)

    monkeypatch.setattr(Path, "unlink", unlink)
    asked: list[str] = []
    fetch = Mirrored._bytes
    monkeypatch.setattr(Mirrored, "_bytes", lambda files, name: asked.append(name) or fetch(files, name))
    again = Store(url)
    assert gone == set() and (again.root / "report.html").read_bytes() == b"new"
    assert set(asked) == {"report.html", "einfluence.json"}  # what has changed, and the marker
    # What another process puts there between the listing and the look at the mirror stays.
    listed = again.files.sizes("")
    again.files.put("runs/later.json", b"{}")
    monkeypatch.setattr(Mirrored, "_listed", lambda files, folder: {name: {"size": 1} for name in listed})
    again.files.pull()
    assert (again.root / "runs/later.json").is_file()


def test_the_sizes_of_kept_deltas_cost_one_listing(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    _mirror(monkeypatch, tmp_path / "one")
    store = prepared(f"{bucket}/deltas")
    kept = {f"{number:020x}": {"w": torch.zeros(8)} for number in range(5)}
    assert store.keep_deltas(ARM, kept, 10**6) == 5
    calls: list[str] = []
    for name in ("find", "info"):
        ask = getattr(type(store.files._system), name)
        monkeypatch.setattr(
            type(store.files._system), name, lambda *a, _n=name, _f=ask, **k: calls.append(_n) or _f(*a, **k)
        )
    assert store.keep_deltas(ARM, {"f" * 20: {"w": torch.zeros(8)}}, 10**6) == 1
    assert calls.count("find") == 1 and "info" not in calls


def test_a_state_is_the_same_on_every_machine(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    url, state = f"{bucket}/states", "5" * 20
    _mirror(monkeypatch, tmp_path / "one")
    first = prepared(url)
    _mirror(monkeypatch, tmp_path / "two")
    second = Store(url)
    assert second.state(state) is None
    made = first.add_state(state, {"a": torch.ones(3)}, {})
    found = second.add_state(state, {"a": torch.zeros(3)}, {})
    assert (found.name, found.read_bytes()) == (made.name, made.read_bytes()) and found != made
    second.tidy(grace=0.0)
    assert verify(Store(url))[1] == []
    first.files.put(f"states/{made.name}", b"no tensors")
    assert [(fault.name, fault.kind) for fault in verify(Store(url), repair=True)[1]] == [
        (f"states/{made.name}", "damaged")
    ]
    assert Store(url).state(state) is None
    assert Store(url).add_state(state, {"a": torch.zeros(3)}, {}).name != made.name
    assert verify(Store(url))[1] == []


def test_credentials_that_are_missing_or_wrong_are_told(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    _mirror(monkeypatch, tmp_path)
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match=f"^{bucket}/closed: found .*redentials"):
        Store(f"{bucket}/closed").files.put("einfluence.json", b"{}", new=True)
    s3fs.S3FileSystem.clear_instance_cache()


def _run_whole(url: str, shard: int, cache: str, start: Barrier) -> None:
    import os

    os.environ["EINFLUENCE_CACHE"] = cache
    store = Store(url)
    start.wait()
    run(store, KEY, shard=shard)


def test_two_processes_fill_a_bucket_at_the_same_time(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _mirror(monkeypatch, tmp_path / "main")
    url, context = f"{bucket}/both", multiprocessing.get_context("spawn")
    prepared(url, probes=12)
    start = context.Barrier(2)
    other = context.Process(target=_run_whole, args=(url, 2, str(tmp_path / "other"), start))
    other.start()
    _run_whole(url, 3, str(tmp_path / "main"), start)
    other.join()
    assert other.exitcode == 0
    _mirror(monkeypatch, tmp_path / "third")
    assert rows(Store(url)).num_rows == 60
    assert rows(Store(url), "outcomes").num_rows == 12
    assert verify(Store(url))[1] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_over_s3(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _mirror(monkeypatch, tmp_path / "main")
    unharmed = prepared(tmp_path / "unharmed", probes=20)
    run(unharmed, KEY, shard=2)
    url = f"{bucket}/killed"
    prepared(url, probes=20)
    draw = random.Random(3)
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.fill", url, "2"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
    run(Store(url), KEY, shard=2)
    assert rows(Store(url)).equals(rows(unharmed))


def test_a_whole_study_runs_there_and_another_machine_has_nothing_to_do(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpt2_folder: Path
) -> None:
    import einfluence
    from einfluence.run import nothing_to_do
    from einfluence.spec import load_spec

    rows_of = [{"id": word, "prompt": "dax is a", "target": word} for word in ("bird", "fish", "king")]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of))
    spec = tmp_path / "spec.yaml"
    arm = {"recipe": {"lr": 0.01, "steps": 1}}
    spec.write_text(json.dumps({"base": str(gpt2_folder), "samples": "samples.jsonl", "arms": [arm]}))
    _mirror(monkeypatch, tmp_path / "one")
    result = einfluence.measure(spec, f"{bucket}/study")
    assert (result.computed, result.store) == (9, f"{bucket}/study")
    _mirror(monkeypatch, tmp_path / "two")
    elsewhere = Store(f"{bucket}/study")
    found = nothing_to_do(load_spec(spec), elsewhere)
    assert found is not None and (found.wanted, found.computed) == (9, 0)
    assert (elsewhere.root / "report.html").is_file()
    assert verify(elsewhere)[1] == []
