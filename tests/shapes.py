"""Checks the annotated shapes of arrays while testing.

Only annotations that name a shape are checked at run time. Pyright checks all others, and the stand-ins of tests need
not be what they say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import install_import_hook

PACKAGES = ["einfluence.engine"]


def install() -> None:
    """Has all functions of :data:`PACKAGES` that are imported from now on check their arrays."""
    install_import_hook(PACKAGES, "tests.shapes.checked")


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, checking those of its arguments and results whose annotation names a shape."""
    shapes = {name: hint for name, hint in function.__annotations__.items() if "jaxtyping." in repr(hint)}
    function.__annotations__ = shapes
    return beartype(function) if shapes else function
