"""Turns of chats, as files have them, into turns as chat templates take them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from einfluence.curate.rows.content import Chat, Turn
from einfluence.errors import InputError

ASSISTANT = "assistant"
ROLES = {
    **{role: role for role in ("system", "developer", "user", ASSISTANT, "tool", "function", "ipython")},
    "human": "user", "observation": "tool",
    **dict.fromkeys(("gpt", "model", "chatgpt", "bot"), ASSISTANT),
}  # fmt: skip


def chat_of(
    where: str, fields: Mapping[str, Any], key: str, before: Sequence[Turn] = (), system: str | None = None
) -> Chat:
    """The chat in a column; its assistant's turns are the targets, but for those before it and of weight 0.

    Args:
        where: Where the row is.
        fields: The row, with `tools` and `chat_template_kwargs` where it has them.
        key: The column of turns.
        before: Turns that come before them and are no targets.
        system: A system turn that opens the chat.

    Raises:
        InputError: For turns that cannot be read, and where none of them is a target.
    """
    opening: list[Turn] = [{"role": "system", "content": system}] if system else []
    read = [_turn(f"{where} {key}.{index}", turn) for index, turn in enumerate(_listed(where, fields, key))]
    turns = (*opening, *before, *(turn for turn, _ in read))
    first = len(turns) - len(read)
    trained = tuple(
        first + index
        for index, (turn, weight) in enumerate(read)
        if turn["role"] == ASSISTANT and weight and first + index
    )
    if not trained:
        found = f"no turn of the {ASSISTANT} behind another turn" if read else "no turns"
        raise InputError(f"{where} {key}", found, f"at least one turn of the {ASSISTANT}, which is the target")
    return Chat(turns, trained, *_extras(where, fields))


def turns_of(where: str, fields: Mapping[str, Any], key: str) -> tuple[Turn, ...]:
    """The turns of a column, none of them a target; as :func:`chat_of`."""
    return tuple(_turn(f"{where} {key}.{index}", turn)[0] for index, turn in enumerate(_listed(where, fields, key)))


def is_chat(value: object) -> bool:
    """Whether a column's value is a list of turns."""
    return isinstance(value, list) and any(
        isinstance(turn, dict) and {"role", "from"} & set(map(str, cast("dict[str, Any]", turn)))
        for turn in cast("list[Any]", value)
    )


def _listed(where: str, fields: Mapping[str, Any], key: str) -> list[Any]:
    value = fields[key]
    if isinstance(value, str) and value.lstrip().startswith("["):  # a cell of a CSV
        value = _parsed(f"{where} {key}", value)
    if not isinstance(value, list):
        raise InputError(f"{where} {key}", f"{value!r:.80}", "a list of turns: {role, content}, or {from, value}")
    return cast("list[Any]", value)


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        fix = "Python's own form of lists is none: `json.dumps` writes JSON" if "{'" in text else ""
        raise InputError(where, f"{text!r:.60}, which is no JSON ({error})", "JSON", fix) from error


def _turn(where: str, value: object) -> tuple[Turn, bool]:
    """A turn, and whether it may be a target."""
    if not isinstance(value, dict):
        raise InputError(where, f"{value!r:.60}", "a turn: {role, content}, or {from, value}")
    turn = {name: item for name, item in cast("dict[str, Any]", value).items() if item is not None}
    names = ("from", "value") if "from" in turn else ("role", "content")
    role = turn.pop(names[0], None)
    if not isinstance(role, str) or role.lower() not in ROLES:
        fix = f"a call of a tool is a turn of the {ASSISTANT} with `tool_calls`" if "call" in str(role) else ""
        raise InputError(f"{where} {names[0]}", f"the role {role!r:.60}", f"one of {', '.join(ROLES)}", fix)
    weight = turn.pop("weight", 1)
    if weight not in (0, 1):
        raise InputError(f"{where} weight", f"{weight!r:.60}", "1, or 0 for a turn that is no target")
    content = _content(f"{where} {names[1]}", turn.pop(names[1], None), called="tool_calls" in turn)
    if ROLES[role.lower()] == ASSISTANT and "tool_calls" not in turn and not content.strip():
        raise InputError(f"{where} {names[1]}", "an empty target", "text, as the loss is over the target's tokens")
    return {"role": ROLES[role.lower()], "content": content, **turn}, bool(weight)


def _content(where: str, value: object, *, called: bool) -> str:
    """The text of a turn, which may come in parts; empty where it only calls tools."""
    if value is None and called:
        return ""
    if isinstance(value, list):
        parts = [cast("dict[str, Any]", part) for part in cast("list[Any]", value) if isinstance(part, dict)]
        other = sorted({str(part.get("type")) for part in parts if not isinstance(part.get("text"), str)})
        if other or len(parts) != len(cast("list[Any]", value)):
            raise InputError(where, f"parts of the type {', '.join(other) or 'unknown'}", "parts of text alone")
        return "".join(part["text"] for part in parts)
    if not isinstance(value, str):
        raise InputError(where, f"{value!r:.60}", "text")
    return value


def _extras(where: str, fields: Mapping[str, Any]) -> tuple[tuple[Mapping[str, Any], ...], Mapping[str, Any]]:
    """What else the chat template is given: tools and options of its own."""
    tools, options = fields.get("tools") or [], fields.get("chat_template_kwargs") or {}
    tools = _parsed(f"{where} tools", tools) if isinstance(tools, str) else tools
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in cast("list[Any]", tools)):
        raise InputError(f"{where} tools", f"{tools!r:.60}", "a list of JSON schemas of tools")
    if not isinstance(options, dict):
        raise InputError(f"{where} chat_template_kwargs", f"{options!r:.60}", "an object")
    return tuple(cast("list[dict[str, Any]]", tools)), cast("dict[str, Any]", options)
