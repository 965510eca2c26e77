"""Processes of the library alone, forked from one that has loaded it: loading takes longer than all that they do.

They have no memory of one another: whatever one finds of another's work, it finds in the store.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import torch

import einfluence
from einfluence.compute import Done
from einfluence.runners.local import compute_here
from einfluence.shards import Job

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(["einfluence.run", "peft", "transformers.models.gpt2.modeling_gpt2", "tests.forked"])


def measured(spec: Path, store: Path, log: Path) -> None:
    """Measures in a group of processes of its own, once the log says that it is on."""
    os.setsid()
    said = os.open(log, os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    torch.set_num_threads(1)
    os.write(1, b"on\n")
    einfluence.measure(spec, store, report=False)


def killed(job: Job, killers: tuple[str, ...]) -> Done:
    """Computes a shard, or is killed by the probes that kill."""
    if set(killers) & set(job.probe_ids):
        os.kill(os.getpid(), signal.SIGKILL)
    return compute_here(job, "cpu", 1)
