"""Sentence templates with two slots; the last slot is the target and stands at the end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

SLOT = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Template:
    """A template in parts: ``before`` + first slot + ``between`` + target slot.

    Args:
        before: Text before the first slot.
        first: The slot in the prompt, ``subject`` or ``object``.
        between: Text between the slots, without the blank at its end.
        target: The slot that is the target, ``subject`` or ``object``.
        gap: What stands before the target: a blank, or nothing in scripts that write none.
    """

    before: str
    first: str
    between: str
    target: str
    gap: str = " "

    def fill(self, subject: str, obj: str) -> tuple[str, str]:
        """Prompt and target of a fact."""
        if self.first == "subject":
            return f"{self.before}{subject}{self.between}", obj
        return f"{self.before}{obj}{self.between}", subject


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """Reads a template such as ``{subject} has {object} .``; a full stop at the end is dropped.

    Raises:
        ValueError: If a slot is missing, unknown or there twice, or text follows the last one.
    """
    bare = re.sub(r"\s*\.\s*$", "", text).strip()
    slots = SLOT.findall(bare)
    unknown = [slot for slot in slots if slot not in ("subject", "object")]
    if unknown:
        raise ValueError(f"the unknown slot {{{unknown[0]}}}; the slots are {{subject}} and {{object}}")
    for slot in ("subject", "object"):
        if slots.count(slot) != 1:
            raise ValueError(f"{slots.count(slot) or 'no'} slot {{{slot}}}; a template has each slot once")
    if not bare.endswith("}"):
        raise ValueError(f"text after {{{slots[-1]}}}; the last slot is the target and ends the template")
    before, between = SLOT.split(bare)[0], SLOT.split(bare)[2]
    if not between.strip():
        raise ValueError("nothing between the slots; the prompt would be a bare name")
    bare_between = between.rstrip()
    return Template(before, slots[0], bare_between, slots[1], between[len(bare_between) :])
