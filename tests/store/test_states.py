"""States: whole or not there, the same for everybody who reads them, and known when they are damaged."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.store.files import Files
from einfluence.store.store import Store
from einfluence.store.verify import verify
from tests.forked import FORKED
from tests.store.made_up import prepared

ID = content_hash("what made it")


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3, 4), value).T, "b": torch.arange(5)}


def added(root: Path, value: float = 1.0) -> Path:
    return Store(root).add_state(ID, tensors(value), {"estimator": "test"})


def test_a_state_is_read_by_its_id_and_the_first_one_stays(tmp_path: Path) -> None:
    prepared(tmp_path)
    assert Store(tmp_path).state(ID) is None
    path = added(tmp_path, 1.0)
    assert added(tmp_path, 2.0) == path == Store(tmp_path).state(ID)
    assert {name: value.tolist() for name, value in load_file(path).items()} == {
        "a": [[1.0] * 3] * 4,
        "b": [0, 1, 2, 3, 4],
    }
    assert Store(tmp_path).state(content_hash("something else")) is None
    Store(tmp_path).tidy(grace=0.0)
    assert Store(tmp_path).state(ID) == path
    assert verify(Store(tmp_path)) == (len([path for path in tmp_path.rglob("*") if path.is_file()]), [])
    with pytest.raises(ValueError, match="no content hash"):
        Store(tmp_path).state("../../etc")


def test_killed_between_writes_a_state_is_not_there_and_what_was_written_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    real, left = Files.put, [0]

    def put(self: Files, *arguments: Any, **more: Any) -> bool:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(self, *arguments, **more)

    for moment in (0, 1):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Files, "put", put)
            left[0] = moment
            added(tmp_path, float(moment))
        assert Store(tmp_path).state(ID) is None
        assert [fault.kind for fault in verify(Store(tmp_path))[1]] == ["leftover"] * moment
    path = added(tmp_path, 3.0)
    assert load_file(path)["a"][0, 0] == 3.0
    assert [fault.kind for fault in verify(Store(tmp_path))[1]] == ["leftover"]
    Store(tmp_path).tidy(grace=3600.0)
    assert len(list((tmp_path / "states").iterdir())) == 3, "another process may be about to name it"
    Store(tmp_path).tidy(grace=0.0)
    assert verify(Store(tmp_path))[1] == []
    assert Store(tmp_path).state(ID) == path


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("harm", [_flip, _cut])
@pytest.mark.parametrize("file", ["tensors", "note"])
def test_a_damaged_state_is_refused_named_and_fitted_anew(
    tmp_path: Path, harm: Callable[[Path], None], file: str
) -> None:
    prepared(tmp_path)
    path = added(tmp_path)
    harmed = path if file == "tensors" else tmp_path / "states" / f"{ID}.json"
    harm(harmed)
    for use in (lambda: Store(tmp_path).state(ID), lambda: added(tmp_path, 2.0)):
        with pytest.raises(InputError, match=r"states/.*`einfluence verify --repair`"):
            use()
    faults = [fault for fault in verify(Store(tmp_path), repair=True)[1] if fault.kind != "leftover"]
    assert [(fault.name, fault.kind) for fault in faults] == [(f"states/{harmed.name}", "damaged")]
    assert Store(tmp_path).state(ID) is None
    assert {fault.kind for fault in verify(Store(tmp_path))[1]} <= {"leftover"}
    assert load_file(added(tmp_path, 2.0))["a"][0, 0] == 2.0


def test_lost_tensors_are_named_and_fitted_anew_with_other_bits(tmp_path: Path) -> None:
    prepared(tmp_path)
    lost = added(tmp_path)
    lost.unlink()
    assert Store(tmp_path).state(ID) is None
    faults = verify(Store(tmp_path))[1]
    assert [(fault.name, fault.kind) for fault in faults] == [(f"states/{lost.name}", "missing")]
    assert added(tmp_path, 2.0) == Store(tmp_path).state(ID) != lost
    assert verify(Store(tmp_path))[1] == []


def _add(root: str, value: float, start: Barrier, found: Any) -> None:
    store = Store(root)
    made = tensors(value)
    start.wait()
    found.put(str(store.add_state(ID, made, {"value": value})))


def test_of_two_processes_that_write_the_same_state_one_decides_for_both(tmp_path: Path) -> None:
    prepared(tmp_path)
    start, found = FORKED.Barrier(2), FORKED.Queue()
    other = FORKED.Process(target=_add, args=(str(tmp_path), 1.0, start, found))
    other.start()
    _add(str(tmp_path), 2.0, start, found)
    paths = {found.get(timeout=120) for _ in range(2)}
    other.join()
    assert other.exitcode == 0
    assert paths == {str(Store(tmp_path).state(ID))}
    assert verify(Store(tmp_path))[1] == []
