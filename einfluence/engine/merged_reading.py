"""Queries read by one training that is left in a plain model, as operations that were recorded where they may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einfluence.engine.merged import Merging
from einfluence.engine.operations import address
from einfluence.engine.read_rows import ReadRows, close
from einfluence.engine.recorded import UnrecordableError, record
from einfluence.models.base import Batch

HELD = 1 << 28  # bytes of what all recordings hold beside the model
REPAID = 8  # readings that a recording takes the time of, where it saves a quarter of each
SPOILT = 0.05  # standard deviation of what is added to what is trained to see whether a recording holds

Read = Callable[[], Float[Tensor, "B T classes"]]


class MergedReading:
    """Reads with what one training trained, which is left in the weights of a model.

    Args:
        merging: Leaves it there.
        reader: Finds what reads the logits of a model.
        start: What is trained, before training.
        known: Whether this model's operations may be recorded; empty while nobody has tried, which is done here.
    """

    def __init__(
        self,
        merging: Merging,
        reader: Callable[[nn.Module, Batch], ReadRows],
        start: Mapping[str, Tensor],
        known: list[bool],
    ) -> None:
        self._merging, self._reader, self._start, self._known = merging, reader, start, known
        self._held = 0

    @cached_property
    def _own(self) -> set[int]:
        """Where the numbers of the model are, which are held in any case."""
        return {address(value) for value in chain(self._merging.plain.parameters(), self._merging.plain.buffers())}

    def merge(self, values: Mapping[str, Tensor]) -> None:
        """Leaves what one training trained in the model."""
        self._merging.merge(values)

    def reads(self, batch: Batch, times: int) -> Read:
        """What reads a batch with what was merged last, so many times.

        It is the same for all trainings and for none, so one that changed nothing has influence exactly 0.
        """
        whole = self._with_model(batch)
        if times < REPAID:
            return whole
        if not self._known:
            self._known.append(self._may_be_recorded(batch.first()))
        if not self._known[0]:
            return whole
        found: list[Read] = []

        def read() -> Float[Tensor, "B T classes"]:
            if found:
                return found[0]()
            again, out = self._recorded(whole) or (whole, whole())
            found.append(again)
            return out

        return read

    def _recorded(self, read: Read) -> tuple[Read, Float[Tensor, "B T classes"]] | None:
        """A recording and what it gives now; None where it would not hold for other trainings, or would hold much."""
        if self._held > HELD:
            return None
        try:
            recording, out = record(read, self._merging.adapted, self._merging.written)
        except UnrecordableError:  # as a longer text may be read in another way
            return None
        self._held += sum(size for where, size in recording.kept.items() if where not in self._own)
        return (recording, out) if self._held <= HELD else None

    def _with_model(self, batch: Batch) -> Read:
        model = self._merging.plain
        reader = self._reader(model, batch)

        @torch.inference_mode()
        def read() -> Float[Tensor, "B T classes"]:
            return reader.logits(model, batch)

        return read

    def _may_be_recorded(self, batch: Batch) -> bool:
        """Whether what was recorded with some parameters says what the model says with others."""
        drawn = torch.Generator().manual_seed(0)
        moved = {
            name: value + SPOILT * torch.randn(value.shape, generator=drawn).to(value)
            for name, value in self._start.items()
        }
        read = self._with_model(batch)
        try:
            recording, before = record(read, self._merging.adapted, self._merging.written)
            self.merge(moved)
            truth, found = read(), (recording(), recording())
        except Exception:  # whatever a model wants otherwise; then it is run as it is
            return False
        dtype = truth.dtype
        return all(close(each, truth, dtype) for each in found) and not close(before, truth, dtype)
