"""YAML files that users write: their values, and the line that each stands on.

Plain scalars mean what YAML 1.2 says: ``1e-3`` is a number, ``010`` is ten, and ``no``, ``on`` or ``2024-01-01`` are
text. Keys that stand twice, anchors that contain themselves, and second documents are refused, since whatever a reader
made of them would be a guess.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import yaml

from einfluence.errors import InputError

Key = int | str
DEEPEST = 64  # lists and mappings inside each other
LARGEST = 10_000_000  # values, once every anchor is written out

_shorter = reprlib.Repr()
_shorter.maxstring = _shorter.maxother = 80
_shorter.maxlist = _shorter.maxdict = _shorter.maxtuple = 4


if TYPE_CHECKING:
    _Fastest = yaml.SafeLoader
else:
    _Fastest = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fastest):
    """Reads plain scalars by the core schema of YAML 1.2, and merges (``<<``) as YAML 1.1 does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_resolve(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+.0123456789",
)
_resolve("merge", "<<", "<")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    try:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, f"no integer: {shown(text)}", node.start_mark) from error


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node)
    try:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, f"no number: {shown(text)}", node.start_mark) from error


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


@dataclass(frozen=True)
class Document:
    """A YAML file.

    Args:
        path: Where it was read from.
        values: Its content; a mapping.
        node: Its tree, for line numbers; None once it is no longer needed.
    """

    path: Path
    values: dict[Any, Any]
    node: yaml.Node | None

    def where(self, *keys: Key) -> str:
        """``spec.yaml:12 arms.0.recipe``, for messages."""
        return f"{self.path}:{self.line(*keys)} {'.'.join(map(str, keys))}".rstrip()

    def line(self, *keys: Key) -> int:
        """The line from 1 on which a path of keys starts; as deep as the path exists."""
        node = self.node
        line = node.start_mark.line + 1 if node is not None else 1
        for key in keys:
            child: tuple[yaml.Node, yaml.Node] | None = None
            if isinstance(node, yaml.MappingNode):
                # What is merged into a mapping stands before what it says itself, which takes precedence.
                pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
                child = next((pair for pair in reversed(pairs) if pair[0].value == str(key)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                child = (node.value[key], node.value[key])
            if child is None:
                return line
            line, node = child[0].start_mark.line + 1, child[1]
        return line

    def is_mapping(self, *keys: Key) -> bool:
        """Whether a mapping stands under a path of keys."""
        here: Any = self.values
        for key in keys:
            here = here[key]
        return isinstance(here, dict)

    def written(self, loc: Iterable[Key]) -> list[Key]:
        """The keys of a place that stand in the file; pydantic's others name branches of a union."""
        keys: list[Key] = []
        here: Any = self.values
        for key in loc:
            if key in (range(len(here)) if isinstance(here, list) else here if isinstance(here, dict) else ()):
                keys.append(key)
                here = cast("Any", here)[key]
        return keys


def read(path: Path, what: str, fix: str = "") -> Document:
    """Reads a YAML file.

    Args:
        path: The file.
        what: What it should be, for messages.
        fix: What to do when there is none.

    Raises:
        InputError: When it cannot be read, or is no mapping, with the line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise InputError(str(path), reason, f"a readable {what} (YAML)", fix) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        found = f"a byte that is not UTF-8 (0x{error.object[error.start]:02x})"
        raise InputError(f"{path}:{line}", found, "UTF-8", "Save the file again as UTF-8") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(str(path), "a name that no file can have", f"a {what}", fix) from error
    try:
        node = _composed(text, path)
        values = None if node is None else _Constructor(node).value
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError) as error:
        raise _unreadable(error, text, path, what) from error
    if not isinstance(values, dict):
        found = "nothing" if values is None else "a list" if isinstance(values, list) else shown(values)
        raise InputError(f"{path}:1", found, f"a {what}: a mapping of keys", fix)
    return Document(path, cast("dict[Any, Any]", values), node)


class _Constructor:
    """The values of a tree, whose keys are then known to be different."""

    def __init__(self, node: yaml.Node) -> None:
        loader = _Loader("")
        try:
            self.value: object = loader.construct_document(node)
        finally:
            loader.dispose()


def _composed(text: str, path: Path) -> yaml.Node | None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):  # composing a tree that is too deep would end the process
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            _too_deep(path, event.start_mark)
    node = yaml.compose(text, Loader=_Loader)
    if node is not None:
        _measured(node, path, {})
    return node


def _measured(node: yaml.Node, path: Path, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Number of values and depth of a tree whose anchors are written out; refuses what cannot be meant."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            where = f"{path}:{node.start_mark.line + 1}"
            raise InputError(where, "an anchor (&) that contains itself", "values that end")
        return size
    known[id(node)] = None
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        _refuse_twins([key for key, _ in pairs], path)
        children = [child for pair in pairs for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    sizes = [_measured(child, path, known) for child in children]
    size = (1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0))
    if size[0] > LARGEST or size[1] > DEEPEST:
        _too_deep(path, node.start_mark)
    known[id(node)] = size
    return size


def _refuse_twins(keys: Sequence[yaml.Node], path: Path) -> None:
    seen: dict[tuple[str, str], int] = {}
    for key in keys:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line, name = key.start_mark.line + 1, (key.tag, key.value)
        if name in seen:
            lines = f"on line {seen[name]} and on line {line}" if seen[name] != line else "twice on this line"
            raise InputError(f"{path}:{line}", f"the key `{key.value}` {lines}", "each key once")
        seen[name] = line


def _too_deep(path: Path, mark: Any) -> NoReturn:
    expected = f"at most {DEEPEST} of them, and {LARGEST:,} values in all"
    raise InputError(f"{path}:{mark.line + 1}", "more lists and mappings inside each other than anyone means", expected)


def _unreadable(error: Exception, text: str, path: Path, what: str) -> InputError:
    mark = getattr(error, "problem_mark", None)
    position: int | None = getattr(error, "position", None)
    line = text[:position].count("\n") + 1 if position is not None else None if mark is None else mark.line + 1
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0])
    if "occurrence" in problem:
        problem = str(getattr(error, "context", problem)).removesuffix("; first occurrence")
    where, fix = str(path) if line is None else f"{path}:{line}", ""
    if "another document" in problem:
        return InputError(where, "a second document (`---`)", f"one {what} a file")
    if "\t" in text and ("tab" in problem or "cannot start any token" in problem):
        fix = "Indent with blanks: YAML takes no tabs there"
    return InputError(where, f"YAML that cannot be read ({problem})", f"a {what}: a mapping of keys", fix)


def shown(value: object) -> str:
    """A value as it stands in messages: short, whatever it is."""
    return _shorter.repr(value)
