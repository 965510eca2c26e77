"""Deltas: the tuned parameters of probes, kept so that new queries of a probe need no new training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from einfluence.store.files import Files, bytes_digest
from einfluence.store.log import ArmKey
from einfluence.store.parts import Parts


class Deltas:
    """The deltas of a store (safetensors).

    Args:
        files: The store's files.
        parts: The parts that count: a delta is used only where its probe's outcome is known.
    """

    def __init__(self, files: Files, parts: Parts) -> None:
        self._files, self._parts = files, parts

    def folder(self, arm: ArmKey) -> str:
        """Where an arm's deltas are."""
        return f"deltas/{arm.base}/{arm.recipe}-{arm.seed}-{arm.engine_version}"

    def kept(self, arm: ArmKey, probe_ids: Iterable[str]) -> dict[str, Path]:
        """The files of probes' deltas, of those that were kept and whose outcome is known."""
        wanted = set(probe_ids)
        names = {_probe(name): name for name in self._files.names(self.folder(arm)) if _probe(name) in wanted}
        if not names:
            return {}
        statuses = [self._parts.statuses(unit) for unit in self._parts.units(arm)]
        done = {probe for outcomes in statuses for probe, status in outcomes.items() if status == "done"}
        paths = {probe: self._files.get(name) for probe, name in names.items() if probe in done}
        return {probe: path for probe, path in paths.items() if path is not None}

    def keep(self, arm: ArmKey, deltas: Mapping[str, Mapping[str, Any]], budget: int) -> int:
        """Keeps deltas while all of the store's take no more than ``budget`` bytes.

        To be called after :meth:`.Parts.add`, which writes the outcomes.

        Returns:
            How many of them are kept now.
        """
        from safetensors.torch import save

        if not deltas or not budget:
            return 0
        sizes, folder = self._files.sizes("deltas"), self.folder(arm)
        kept = {_probe(name) for name in sizes if name.startswith(f"{folder}/")}
        used = sum(sizes.values())
        for probe_id, delta in deltas.items():
            size = sum(tensor.numel() * tensor.element_size() for tensor in delta.values())
            if probe_id in kept or used + size > budget:
                continue
            data = save({name: tensor.contiguous() for name, tensor in delta.items()})
            if used + len(data) > budget:
                continue
            self._files.put(f"{folder}/{probe_id}.{bytes_digest(data)}.safetensors", data)
            kept.add(probe_id)
            used += len(data)
        return len(kept.intersection(deltas))


def _probe(name: str) -> str:
    """The probe_id in the name of a delta's file."""
    return name.rsplit("/", 1)[1].split(".", 1)[0]
