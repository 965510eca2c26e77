"""The shapes that rows of fine-tuning files have: known by their columns, each with one reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from einfluence.curate.records import text_field
from einfluence.curate.rows.chats import ASSISTANT, chat_of, is_chat, turns_of
from einfluence.curate.rows.content import Chat, Content, Pair, Text
from einfluence.errors import InputError

COMMON = ("id", "group", "cluster", "template")
"""Columns that a row of any shape may have."""
_TEXT = ("join",)
_CHAT = ("tools", "chat_template_kwargs")


@dataclass(frozen=True)
class Shape:
    """A shape of rows.

    Args:
        name: What people call it.
        needs: Columns that a row has, which it is known by.
        read: Place and columns of a row to what it says. Raises InputError.
        prompt: How the prompt is written, for the docs.
        target: What the target is, for the docs.
        may: Columns that it may have besides, beside COMMON.
        asks: Whether the prompt is what a user asks of a chat model.
    """

    name: str
    needs: tuple[str, ...]
    read: Callable[[str, Mapping[str, Any]], Content]
    prompt: str
    target: str
    may: tuple[str, ...] = _TEXT
    asks: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        return (*self.needs, *self.may, *COMMON)


def shape_of(columns: Collection[str]) -> Shape | None:
    """The shape that reads most of these columns, the first one of those that read as many; None where none fits."""
    fits = [shape for shape in SHAPES if set(shape.needs) <= set(columns)]
    return max(fits, key=lambda shape: len(set(shape.columns) & set(columns)), default=None)


def _target(where: str, fields: Mapping[str, Any], key: str) -> str:
    target = text_field(where, fields, key)
    if not target.strip():
        raise InputError(f"{where} {key}", "an empty target", "text, as the loss is over the target's tokens")
    return target


def _join(where: str, fields: Mapping[str, Any]) -> str | None:
    return text_field(where, fields, "join") if "join" in fields else None


def _texts(prompt: tuple[str, ...], target: str, usual: str | None = None) -> Callable[[str, Mapping[str, Any]], Text]:
    """A reader of rows whose prompt is the columns that are there, a line each."""

    def read(where: str, fields: Mapping[str, Any]) -> Text:
        parts = [text_field(where, fields, key) for key in prompt if key in fields]
        written = "\n".join(part for part in parts if part) if len(prompt) > 1 else "".join(parts)
        return Text(written, _target(where, fields, target), _join(where, fields), usual)

    return read


def _completion(where: str, fields: Mapping[str, Any]) -> Text | Chat:
    return _answer(where, fields, "completion")


def _answer(where: str, fields: Mapping[str, Any], key: str) -> Text | Chat:
    """A prompt and what follows it, both texts or both turns; or turns that hold the prompt themselves."""
    prompt, turns = fields.get("prompt"), is_chat(fields[key])
    if not turns and not is_chat(prompt):
        if prompt is None:
            expected = "a `prompt`, where the answers are texts"
            raise InputError(where, f"no `prompt` beside `{key}`", expected)
        return Text(text_field(where, fields, "prompt"), _target(where, fields, key), _join(where, fields), "")
    if not turns:
        raise InputError(f"{where} {key}", f"{fields[key]!r:.60} behind a `prompt` of turns", "a list of turns")
    if "join" in fields:
        raise InputError(f"{where} join", "`join` in a chat", "no `join`: the chat template puts turns together")
    if isinstance(prompt, str):
        question = {"role": "user", "content": prompt}
        whole = any(turn["role"] != ASSISTANT for turn in turns_of(where, fields, key)[:1])
        return chat_of(where, fields, key, before=() if whole else (question,))
    return chat_of(where, fields, key, before=turns_of(where, fields, "prompt") if prompt is not None else ())


def _pair(where: str, fields: Mapping[str, Any]) -> Pair:
    """Two answers to one prompt; of whole conversations, what follows the turns that they share."""
    chosen, rejected = (_answer(where, fields, key) for key in ("chosen", "rejected"))
    if isinstance(chosen, Chat) and isinstance(rejected, Chat):
        shared = next(
            (at for at, (a, b) in enumerate(zip(chosen.turns, rejected.turns, strict=False)) if a != b),
            min(len(chosen.turns), len(rejected.turns)),
        )
        return Pair(_behind(chosen, shared), _behind(rejected, shared))
    if type(chosen) is not type(rejected):
        raise InputError(where, "`chosen` and `rejected` of two kinds", "two texts, or two lists of turns")
    return Pair(chosen, rejected)


def _behind(chat: Chat, shared: int) -> Chat:
    """A chat whose targets are those that the other one does not share; all, if it shares them all."""
    own = tuple(place for place in chat.trained if place >= shared)
    return Chat(chat.turns, own or chat.trained[-1:], chat.tools, chat.options)


def _messages(where: str, fields: Mapping[str, Any]) -> Chat:
    return chat_of(where, fields, "messages")


def _conversations(key: str) -> Callable[[str, Mapping[str, Any]], Chat]:
    def read(where: str, fields: Mapping[str, Any]) -> Chat:
        system = text_field(where, fields, "system") if "system" in fields else None
        return chat_of(where, fields, key, system=system)

    return read


def _whole(where: str, fields: Mapping[str, Any]) -> Text:
    return Text("", _target(where, fields, "text"))


def _renamed(prompt: str, target: str, name: str, *, asks: bool = False) -> Shape:
    return Shape(name, (prompt, target), _texts((prompt,), target), f"`{prompt}`", f"`{target}`", asks=asks)


_TURNS = "the turns before it, as the chat template writes them"
_ANSWERS = "each turn of the assistant"

SHAPES: tuple[Shape, ...] = (
    Shape("prompt and target", ("target",), _texts(("prompt",), "target"), "`prompt`; may be absent", "`target`",
          ("prompt", *_TEXT)),
    Shape("TRL prompt and completion", ("prompt", "completion"), _completion,
          "`prompt`, verbatim (`join: \"\"`); of turns: as the chat template writes them",
          "`completion`; of turns: those of the assistant", (*_TEXT, *_CHAT)),
    Shape("preferences (DPO)", ("chosen", "rejected"), _pair,
          "`prompt`, verbatim (`join: \"\"`); of turns: as the chat template writes them, also where `chosen` begins "
          "with them", "`chosen`; `rejected` is a query of the kind `sibling`", ("prompt", *_TEXT, *_CHAT)),
    Shape("chats", ("messages",), _messages, _TURNS, _ANSWERS, _CHAT),
    Shape("chats of ShareGPT", ("conversations",), _conversations("conversations"), _TURNS, _ANSWERS,
          ("system", *_CHAT)),
    Shape("chats", ("conversation",), _conversations("conversation"), _TURNS, _ANSWERS, ("system", *_CHAT)),
    Shape("Alpaca", ("instruction", "output"), _texts(("instruction", "input"), "output", "\n"),
          "`instruction`, `input` on the next line; a line end", "`output`", ("input", *_TEXT), asks=True),
    Shape("Dolly", ("instruction", "response"), _texts(("instruction", "context"), "response", "\n"),
          "`instruction`, `context` on the next line; a line end", "`response`", ("context", *_TEXT), asks=True),
    Shape("questions and answers", ("question", "answer"), _texts(("context", "question"), "answer"),
          "`context` where there is one, `question` on the next line", "`answer`", ("context", *_TEXT), asks=True),
    _renamed("query", "response", "queries and responses", asks=True),
    _renamed("prompt", "response", "prompts and responses", asks=True),
    _renamed("prompt", "answer", "prompts and answers", asks=True),
    _renamed("inputs", "targets", "inputs and targets"),
    _renamed("input", "target", "inputs and targets"),
    _renamed("input", "output", "inputs and outputs"),
    _renamed("source", "target", "sources and targets"),
    Shape("whole texts", ("text",), _whole, "nothing but how [texts begin](bases.md#how-texts-begin-and-are-joined)",
          "`text`, all of it", ()),
)  # fmt: skip
"""Every shape that is read without a hint."""


def shapes_table() -> str:
    """The shapes as a table in Markdown."""
    lines = ["| columns | what it is | prompt | target |", "|---|---|---|---|"]
    for shape in SHAPES:
        more = [f"`{name}`" for name in shape.may if name != "join"]
        columns = ", ".join(f"`{name}`" for name in shape.needs) + (f" ({', '.join(more)})" if more else "")
        lines.append(f"| {columns} | {shape.name} | {shape.prompt} | {shape.target} |")
    return "\n".join(lines)
