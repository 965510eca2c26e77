"""What to say when the values of a user's file do not fit a schema: one message, with places, advice and near names."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError

from einfluence.errors import InputError
from einfluence.yamlfile import Document, Key, shown

Fault = Mapping[str, Any]
"""One of ``ValidationError.errors()``."""

NAMED = 5  # faults beside the first one that a message gives the places of


def refused(
    error: ValidationError,
    document: Document,
    schema: type[BaseModel],
    place: Callable[[Sequence[Key]], Sequence[Key]] = tuple,
    hint: Callable[[str, Sequence[Key]], str] = lambda _kind, _keys: "",
) -> InputError:
    """One message for everything that does not fit: the first fault in full, and where the others are.

    Args:
        error: What pydantic says.
        document: The file.
        schema: What it was held against.
        place: From pydantic's location to the keys of the file, where the file was rearranged before it was checked.
        hint: What to do about a fault, given pydantic's name of its kind and its keys; may be nothing.
    """
    faults = _first_causes(
        [_Fault(fault, document, schema, place(fault["loc"])) for fault in error.errors(include_url=False)]
    )
    first = faults[0]
    where = document.where(*first.keys)
    # A key that stands once may be refused several times: for each point of a grid.
    unknown = [*{(fault.name, fault.line): fault for fault in faults if fault.unknown}.values()]
    if first.unknown:
        others = [fault for fault in faults if not fault.unknown]
        named = [first.name, *(f"{fault.name} (line {fault.line})" for fault in unknown[1:])]
        found = f"the unknown key{'s' if len(named) > 1 else ''} {_listed(named)}"
        alike = dict.fromkeys(fault.alike for fault in unknown if fault.alike)
        fixes = [f"Did you mean {_listed(list(alike))}?" if alike else ""]
        fixes += dict.fromkeys(fault.elsewhere for fault in unknown)
    else:
        others = faults[1:]
        found, fixes = first.found, [hint(first.kind, first.keys) or first.advice]
    if others:
        places = [f"line {fault.line} {'.'.join(map(str, fault.keys))}".rstrip() for fault in others[:NAMED]]
        more = ", …" if len(others) > NAMED else ""
        fixes.append(
            f"{len(others)} more fault{'s' if len(others) > 1 else ''} in this file: {', '.join(places)}{more}"
        )
    joined = " ".join(fix if fix.endswith("?") else f"{fix}." for fix in fixes if fix)
    return InputError(where, found, first.expected, joined.removesuffix("."))


class _Fault:
    """What pydantic complains about, in the words and at the place of the file."""

    def __init__(self, fault: Fault, document: Document, schema: type[BaseModel], loc: Sequence[Key]) -> None:
        self.kind: str = fault["type"]
        self.value: Any = fault.get("input")
        self.keys = document.written(loc)
        self.depth = len(fault["loc"])
        self.unknown = self.kind == "extra_forbidden"
        self.name, self.alike, self.elsewhere = "", "", ""
        last = fault["loc"][-1] if fault["loc"] else ""
        if self.kind == "missing" and isinstance(last, str):
            self.keys.append(last)
        context = cast("dict[str, Any]", fault.get("ctx", {}))
        if self.kind == "union_tag_invalid":
            # A branch may also be written by its name alone, where its fields would stand.
            self.keys += [str(context["discriminator"]).strip("'")] if document.is_mapping(*self.keys) else []
            self.value = context["tag"]
        self.line = document.line(*self.keys)
        self.found, self.expected = self._worded(fault, schema, context)
        self.advice = _advice(self.kind, self.value)
        if self.unknown:
            known = _known_keys(schema, fault["loc"])
            if len(self.keys) == 1:  # of the file, whose only part may stand at the top
                known += [name for name in _fields(schema) if name not in known]
            self.name = f"`{last}`"
            near = _nearest(last, known, 0.6)
            self.alike = f"`{near}`" if near else ""
            self.expected = f"one of {', '.join(known)}"
            owners = _owners(schema, fault["loc"])
            homes = {} if near or owners else _homes(schema)
            home = _nearest(last, homes, 0.8)
            self.elsewhere = f"`{home}` stands {' or '.join(dict.fromkeys(homes[home]))}" if home else ""
            if owners and not near:
                self.elsewhere = f"`{last}` is a key of {' or '.join(f'`{owner}`' for owner in owners)}"

    def _worded(self, fault: Fault, schema: type[BaseModel], context: Mapping[str, Any]) -> tuple[str, str]:
        """What was found, and what was expected."""
        last = fault["loc"][-1] if fault["loc"] else ""
        message = re.sub(
            r"^(Value error, |Input should be (an instance of )?)|, (unable to|got a number with) .*$", "", fault["msg"]
        )
        message = (
            message.replace("a valid string", "text")
            .replace("a valid integer", "a whole number")
            .replace("a valid ", "a ")
        )
        match self.kind:
            case "missing" if isinstance(last, int):
                return f"{last} item{'s' if last > 1 else ''}", f"{_length(schema, fault['loc'])}"
            case "missing":
                return "nothing", f"the key `{last}`"
            case "value_error" if isinstance(self.value, dict | list | tuple | BaseModel):
                return "what does not fit together", message
            case "union_tag_invalid":
                return shown(self.value), f"one of {context['expected_tags']}"
            case "too_short":
                return "an empty list" if not self.value else shown(self.value), f"at least {context['min_length']}"
            case "invalid_key":
                return f"the key {shown(last)}", "keys that are text"
            case "tuple_type" | "list_type":
                message = "a list"
            case "dict_type" | "model_type" | "model_attributes_type":
                message = "a mapping of keys"
            case _:
                pass
        return "nothing" if self.value is None else shown(self.value), message


def _first_causes(faults: list[_Fault]) -> list[_Fault]:
    """One fault a place, in the order of the file, without those that only follow from another.

    A union complains once for each branch: the branch that got deepest is the one that was meant. A key that is
    missing where its name stands misspelt is one fault.
    """
    deepest: dict[tuple[Key, ...], _Fault] = {}
    for fault in faults:
        keys = tuple(fault.keys)
        if keys not in deepest or fault.depth > deepest[keys].depth:
            deepest[keys] = fault
    above = {keys[:length] for keys in deepest for length in range(len(keys))}
    meant = {(*fault.keys[:-1], fault.alike.strip("`")) for fault in faults if fault.alike}
    kept = [fault for keys, fault in deepest.items() if keys not in above and keys not in meant]
    return sorted(kept or faults, key=lambda fault: fault.line)


def _advice(kind: str, value: object) -> str:
    if "string" in kind and isinstance(value, dict):
        return "A text with { at its start needs quotes in YAML"
    if "string" in kind and isinstance(value, bool | int | float):
        return "YAML reads bare numbers, true and false as such: write it in quotes"
    return ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


# The keys that a schema knows at a place ----------------------------------------------------------------------------


def _known_keys(schema: type[BaseModel], loc: Sequence[Key]) -> list[str]:
    """Names of the fields that may stand beside the last key of a location."""
    models = (each for each in _around(schema, loc) if _is_model(each))
    return list(dict.fromkeys(name for model in models for name in _fields(model)))


def _owners(schema: type[BaseModel], loc: Sequence[Key]) -> list[str]:
    """Which other branches of the union that a location ends in have its last key: ``kind: sgd``."""
    branches = [each for each in _around(schema, loc[:-1]) if _is_model(each) and loc[-1] in _fields(each)]
    return [f"{name}: {field.default}" for branch in branches for name, field in branch.model_fields.items()
            if get_origin(field.annotation) is Literal and get_args(field.annotation) == (field.default,)]  # fmt: skip


def _length(schema: type[BaseModel], loc: Sequence[Key]) -> int:
    """How many items the list takes that the last key of a location belongs to."""
    lists = (get_args(each) for each in _around(schema, loc) if get_origin(each) is tuple)
    return max((len(items) for items in lists if Ellipsis not in items), default=1)


def _around(schema: type[BaseModel], loc: Sequence[Key]) -> list[Any]:
    """What the last key of a location stands in: one annotation for each branch that may be meant."""
    here: list[Any] = [schema]
    for key in loc[:-1]:
        here = [below for each in here for below in _below(each, key)] or here
    return here


def _homes(schema: type[BaseModel]) -> dict[str, list[str]]:
    """Where a schema has a field of each name: ``at the top``, or under which keys."""
    homes: dict[str, list[str]] = {name: ["at the top"] for name in _fields(schema)}
    seen, todo = {schema}, [schema]
    while todo:
        for parent, annotation in _fields(todo.pop()).items():
            for model in _models(annotation):
                for name in _fields(model):
                    homes.setdefault(name, []).append(f"under `{parent}`")
                if model not in seen:
                    seen.add(model)
                    todo.append(model)
    return homes


def _nearest(key: Key, names: Iterable[str], least: float) -> str:
    return next(iter(difflib.get_close_matches(str(key).lower().replace("-", "_"), names, 1, least)), "")


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Annotations by the names that users write; a model's ``beside`` names fields whose own may stand beside them."""
    own = {field.alias or name: field.annotation for name, field in model.model_fields.items() if not field.exclude}
    for name in getattr(model, "beside", ()):
        for below in _models(own[name]):
            own |= {key: kind for key, kind in _fields(below).items() if key != "kind" and key not in own}
    return own


def _below(annotation: Any, key: Key) -> Iterator[Any]:
    """What a key leads to."""
    arguments = get_args(annotation)
    if _is_model(annotation):
        if key in _fields(annotation):
            yield from _alternatives(_fields(annotation)[str(key)])
        elif key == annotation.__name__ or any(
            get_origin(kind) is Literal and key in get_args(kind) for kind in _fields(annotation).values()
        ):
            yield annotation  # a branch of a union, by its name or by its tag
    elif get_origin(annotation) is dict:
        yield from _alternatives(arguments[1])
    elif get_origin(annotation) in (tuple, list) and isinstance(key, int):
        for argument in arguments:
            yield from _alternatives(argument)


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        whole = next((each.branches() for each in arguments[1:] if hasattr(each, "branches")), arguments[0])
        yield from _alternatives(whole)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            yield from _alternatives(argument)
    else:
        yield annotation


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for each in _alternatives(annotation):
        if _is_model(each):
            yield each
        else:
            for argument in get_args(each):
                yield from _models(argument)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
