"""States: what estimators fitted to a base, as safetensors named by the content of all that made them.

The tensors are written first, under the checksum of their bytes, then once a note that names the checksum. A state
whose note is there is whole; where two processes fit the same state, the one that writes the note first decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from einfluence.digests import digest
from einfluence.errors import InputError
from einfluence.store.files import Files, bytes_digest, json_bytes, read_json
from einfluence.store.schema import STATES

FOLDER = "states"
TENSORS = re.compile(rf"{FOLDER}/([0-9a-f]{{20}})\.([0-9a-f]{{20}})\.safetensors")
NOTE = re.compile(rf"{FOLDER}/([0-9a-f]{{20}})\.json")


class States:
    """The states of a store.

    Args:
        files: The store's files.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def get(self, state_id: str) -> Path | None:
        """The file of a state, or None when it is not there.

        Raises:
            InputError: When its bytes are not those that were written.
        """
        note = self._files.get(note_name(state_id))
        name = tensors_of(note) if note is not None else None
        path = self._files.get(name) if name is not None else None
        if path is None:
            return None
        found = digest(path)
        if not path.name.endswith(f".{found}.safetensors"):
            fix = "`einfluence verify --repair` sets it aside; the next run fits it anew"
            raise InputError(str(path), f"a state with the checksum {found}", "the checksum in its name", fix)
        return path

    def about(self, state_id: str) -> dict[str, Any]:
        """What was written about a state that is there."""
        note = self._files.get(note_name(state_id))
        return {} if note is None else dict(read_json(note).get("about", {}))

    def add(self, state_id: str, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
        """Writes a state, whole or not at all; one that is there stays as it is.

        Args:
            state_id: Content hash (:func:`einfluence.keys.content_hash`) of all that the tensors depend on.
            tensors: torch tensors by name; no two share memory.
            about: What the state is of, for people; plain data.

        Returns:
            The file of the state that counts: another process's, where that was first.

        Raises:
            InputError: When the store cannot be written, or the state that is there is damaged.
        """
        from safetensors.torch import save

        there = self.get(state_id)
        if there is not None:
            return there
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        checksum = bytes_digest(data)
        name, note = f"{FOLDER}/{state_id}.{checksum}.safetensors", note_name(state_id)
        about_state = json_bytes({"about": dict(about), "bytes": len(data), "checksum": checksum})
        self._files.put(name, data)
        if not self._files.put(note, about_state, new=True) and self.get(state_id) is None:
            self._files.put(note, about_state)  # the note that is there names a file that was lost
        path = self.get(state_id)
        if path is None:
            raise InputError(self._files.url, f"no {name} after writing it", "a store that nobody deletes")
        if path.name != Path(name).name:
            self._files.delete(name)  # another process's note was first
        return path

    def table(self) -> pa.Table:
        """A row a state (:data:`einfluence.store.schema.STATES`), by the notes; damaged ones are passed over."""
        paths = [self._files.get(note) for note in sorted(noted(self._files).values())]
        notes = {path.stem: read_json(path) for path in paths if path is not None}
        rows = [{**note.get("about", {}), "state": name, "bytes": note.get("bytes")} for name, note in notes.items()]
        return pa.Table.from_pylist(rows, STATES)


def note_name(state_id: str) -> str:
    """The file of a state's note.

    Raises:
        ValueError: When it is no content hash.
    """
    name = f"{FOLDER}/{state_id}.json"
    if not NOTE.fullmatch(name):
        raise ValueError(f"{state_id!r} is no content hash of 20 hexadecimal digits")
    return name


def tensors_of(note: Path) -> str:
    """The file that a note names.

    Raises:
        InputError: When the note is damaged.
    """
    name = f"{FOLDER}/{note.stem}.{read_json(note).get('checksum')}.safetensors"
    if not TENSORS.fullmatch(name):
        fix = "`einfluence verify --repair` sets it aside"
        raise InputError(str(note), "a note without a checksum", "a state's note as einfluence writes it", fix)
    return name


def noted(files: Files) -> dict[str, str]:
    """The notes of all states by the files that they name; damaged notes are passed over."""
    found: dict[str, str] = {}
    for name in files.names(FOLDER):
        path = files.get(name) if NOTE.fullmatch(name) else None
        if path is not None:
            with suppress(InputError):
                found[tensors_of(path)] = name
    return found


def unnoted(files: Files) -> Iterator[str]:
    """Tensors that no note names: of a process that was killed, or was not the first."""
    counted = noted(files)
    yield from (name for name in files.names(FOLDER) if TENSORS.fullmatch(name) and name not in counted)
