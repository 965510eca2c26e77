"""Sizes of memory and disk, as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def byte_count(text: str) -> int:
    """Reads ``5GB`` as 5,000,000,000.

    Raises:
        ValueError: When it is no number with a unit of B, KB, MB, GB or TB.
    """
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*((?:[KMGT]?B)?)\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"a size such as 500MB or 5GB (not {text!r})")
    return int(float(match[1]) * _UNITS[match[2].upper()])
