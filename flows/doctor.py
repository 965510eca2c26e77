"""What einfluence needs of this machine, looked at piece by piece: what is there, what is missing, how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from einfluence.errors import InputError, first_line

SPARE = 2e9  # bytes of disk below which a study of a small model may not fit
WAIT = 2.0  # seconds for a model hub to answer
EXTRAS = ("explore", "dask", "ray", "s3")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: Its name.
        state: ``ok``; ``note``, something that not everybody needs; ``missing``, something that a run would fail for.
        found: What is there.
        fix: What to do about it, where there is something to do.
    """

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """The contract of ``--json``."""
        return asdict(self)


def examine(store: str) -> Iterator[Finding]:
    """Looks at everything, what is quick first; what raises an error is a finding, too.

    Args:
        store: Folder or URL of the store.
    """
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("extras", _extras),
        ("cache", _cache),
        ("store", lambda: _store(store)),
        ("model hub", _hub),
        ("prefect server", _server),
        ("device", _devices),
    ]
    for what, look in looks:
        try:
            yield from look()
        except InputError as error:
            yield Finding(what, "missing", f"{error.where}: {error.found}", error.fix or f"needs {error.expected}")
        except Exception as error:
            yield Finding(what, "missing", first_line(error), "install einfluence anew: pip install --force-reinstall")


def _python() -> Iterator[Finding]:
    from packaging.specifiers import SpecifierSet

    running, wanted = platform.python_version(), metadata("einfluence")["Requires-Python"] or ""
    fits = SpecifierSet(wanted).contains(running, prereleases=True)
    yield Finding("python", "ok" if fits else "missing", running, "" if fits else f"needs Python {wanted}")


def _packages() -> Iterator[Finding]:
    """The package itself and all that it requires, each held against the versions that it was released with."""
    yield Finding("einfluence", "ok", version("einfluence"))
    for requirement in _requirements():
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement, "missing")


def _extras() -> Iterator[Finding]:
    for extra in EXTRAS:
        for requirement in _requirements():
            if requirement.marker is not None and _of_extra(requirement.marker, extra):
                found = _package(requirement, "note")
                fix = f"pip install 'einfluence[{extra}]'" if found.fix else ""
                yield Finding(f"{found.what} ({extra})", found.state, found.found, fix)


def _requirements() -> list[Any]:
    from packaging.requirements import Requirement

    return [Requirement(line) for line in requires("einfluence") or []]


def _of_extra(marker: Any, extra: str) -> bool:
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _package(requirement: Any, otherwise: Literal["note", "missing"]) -> Finding:
    fix = f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        there = version(requirement.name)
    except PackageNotFoundError:
        return Finding(requirement.name, otherwise, "not installed", fix)
    if not requirement.specifier.contains(there, prereleases=True):
        return Finding(requirement.name, otherwise, f"{there}, where {requirement.specifier} is needed", fix)
    return Finding(requirement.name, "ok", there)


def _cache() -> Iterator[Finding]:
    from einfluence.embedded import cache_folder

    folder = cache_folder()
    yield _room("cache", folder, str(folder), "set EINFLUENCE_CACHE to a folder that you can write to")


def _store(store: str) -> Iterator[Finding]:
    from einfluence.store.schema import STORE_VERSION
    from einfluence.store.store import Store

    opened = Store(store)
    if not opened.exists:
        yield Finding("store", "note", f"{opened.url}: none yet", "`einfluence run` writes one; --store names another")
    else:
        runs = len(opened.runs())
        yield Finding("store", "ok", f"{opened.url}: version {STORE_VERSION}, {runs} run{'' if runs == 1 else 's'}")
    yield _room("disk of the store", opened.root, "", "give the store a folder that you can write to (--store)")


def _room(what: str, folder: Path, name: str, fix: str) -> Finding:
    """Whether a folder, or the one that it would be made in, can be written, and how much fits."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    name = f"{name}: " if name else ""
    if not there.is_dir() or not os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return Finding(what, "missing", f"{name}{there} cannot be written", fix)
    free = shutil.disk_usage(there).free
    short = free < SPARE
    fix = f"free some space, or {fix}" if short else ""
    return Finding(what, "note" if short else "ok", f"{name}{free / 1e9:.1f} GB free", fix)


def _hub() -> Iterator[Finding]:
    """Whether models can be fetched: embedded ones, folders and what was fetched before need no hub."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        yield Finding("model hub", "note", "offline (HF_HUB_OFFLINE)", "unset HF_HUB_OFFLINE to fetch models")
        return
    where = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        socket.create_connection((where.hostname or "", where.port or 443), WAIT).close()
    except OSError as error:
        found = f"offline: {where.hostname} cannot be reached ({first_line(error)})"
        yield Finding("model hub", "note", found, "models in folders and embedded:NAME need no hub")
        return
    yield Finding("model hub", "ok", f"{where.hostname} can be reached")


def _server() -> Iterator[Finding]:
    url = None
    if _prefect_is_set_up():  # to ask Prefect takes seconds, the import of its client
        from flows.server import named_server

        url = named_server()
    own = "none named: `einfluence run` starts one for itself"
    yield Finding("prefect server", "ok", f"{url} answers" if url else own)


def _prefect_is_set_up() -> bool:
    """Whether any place that Prefect reads its settings from is there."""
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    if {"PREFECT_API_URL", "PREFECT_PROFILE"} & set(os.environ) or any(
        map(Path.is_file, (profiles, Path("prefect.toml")))
    ):
        return True
    shared = [
        file for file in (Path(".env"), Path("pyproject.toml")) if file.is_file()
    ]  # other programs read them, too
    return any(word in file.read_text("utf-8", "replace") for file in shared for word in ("PREFECT_", "tool.prefect"))


def _devices() -> Iterator[Finding]:
    import torch

    from einfluence.devices import devices

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    for name in devices():
        if name == "cpu":
            yield Finding("cpu", "ok", f"{cores} cores, {memory:.0f} GB of memory")
        elif name == "mps":
            yield Finding("mps", "ok", "Apple's GPU")
        else:
            of = torch.cuda.get_device_properties(name)
            yield Finding(name, "ok", f"{of.name}, {of.total_memory / 1e9:.0f} GB")
    if Path("/dev/nvidiactl").exists() and not torch.cuda.is_available():
        found = f"a GPU that PyTorch {torch.__version__} does not see"
        yield Finding("cuda", "note", found, "install the CUDA build of torch that fits your driver: pytorch.org")
