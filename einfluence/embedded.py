"""Where the data that ships with the package lies, and where what is made once on a machine is kept."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """The shipped ``data/``: inside the installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "_data"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "data"


def cache_folder() -> Path:
    """Where bases trained on first use are kept: ``$EINFLUENCE_CACHE``, else a folder in the user's cache."""
    chosen = os.environ.get("EINFLUENCE_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "einfluence"
