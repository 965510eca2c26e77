"""How a fast engine says that it is not for this model."""

from __future__ import annotations

from einfluence.errors import InputError


class Unknown(InputError):
    """A layer whose exact type a fast engine does not know; the serial definition measures such a model."""
