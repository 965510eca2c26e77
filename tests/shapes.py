"""Checks the annotated shapes of arrays while testing.

Only functions and dataclasses with an annotation that names a shape are checked at run time, and of their annotations
only those: Pyright checks all others, and the stand-ins of tests need not be what they say. jaxtyping's own import hook
wraps every function, which takes half as long again where small functions are called often, and its decorator checks
the arguments twice if there is a result to check.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from beartype import beartype
from jaxtyping import jaxtyped

CHECKED = re.compile(r"einfluence\.(engine|objectives|estimators\.measure)(\.|$)")

NAMED_WITH = ("import torch", "from jaxtyping import")


def install() -> None:
    """Has the modules that :data:`CHECKED` finds, where they are imported from now on, check their arrays."""
    sys.meta_path.insert(0, _Finder())


def checked(thing: Any) -> Any:
    """A function or class that checks those of its arguments, results and fields whose annotation names a shape."""
    own = sys.modules[thing.__module__].__dict__
    hints = map(str, inspect.get_annotations(thing).values())
    named = [own.get(name) for hint in hints for name in re.findall(r"\b[A-Za-z_]\w*", hint)]
    if not any(map(_of_jaxtyping, named)):
        return thing
    if inspect.isclass(thing) or inspect.isgeneratorfunction(thing):
        return jaxtyped(thing, typechecker=_only_shapes)
    return _checked_once(thing)


def _checked_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arguments and result in one context, in which each is looked at once."""
    said = function.__annotations__
    function.__annotations__ = {name: _read(hint, function.__globals__) for name, hint in said.items()}
    shaped = _only_shapes(function)
    function.__annotations__ = said
    if any("{" in str(hint) for hint in said.values()):  # a size is that of an argument
        return jaxtyped(shaped, typechecker=None)

    @functools.wraps(function)
    def within(*args: Any, **kwargs: Any) -> Any:
        with jaxtyped("context"):
            return shaped(*args, **kwargs)

    return within


def _read(hint: Any, names: dict[str, Any]) -> Any:
    """What an annotation is, or any value where it names what only type checkers import."""
    try:
        return eval(hint, names) if isinstance(hint, str) else hint
    except (NameError, AttributeError):
        return Any


def _of_jaxtyping(value: object) -> bool:
    return getattr(value, "__module__", "").startswith("jaxtyping") or "jaxtyping." in repr(value)


def _only_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    shapes = {name: hint for name, hint in function.__annotations__.items() if "jaxtyping." in repr(hint)}
    function.__annotations__ = shapes
    return beartype(function) if shapes else function


class _Finder(MetaPathFinder):
    """Finds what :data:`CHECKED` names before others do."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if CHECKED.match(fullname) else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Compiles each function and class under :func:`checked`; not kept beside the code of runs without tests."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = ast.fix_missing_locations(_Decorated().visit(ast.parse(self.get_data(path))))
        return compile(tree, path, "exec", dont_inherit=True)


class _Decorated(ast.NodeTransformer):
    """Functions are checked before their other decorators see them, classes when dataclasses are made of them."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list.append(_decorator(node))
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list.insert(0, _decorator(node))
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        """Brings in what only type checkers import, where shapes are written with it."""
        if ast.unparse(node.test) != "TYPE_CHECKING":
            return self.generic_visit(node)
        return [*(each for each in node.body if ast.unparse(each).startswith(NAMED_WITH)), node]


def _decorator(node: ast.stmt) -> ast.expr:
    made = ast.parse("__import__('tests.shapes').shapes.checked", mode="eval").body
    return ast.copy_location(made, node)
