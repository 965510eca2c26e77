"""Chats as a base reads them: by a chat template, with the assistant's turns as targets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

from einfluence.curate.rows.content import Chat, Turn
from einfluence.errors import InputError

_TODAY = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_DAY = date(2024, 7, 26)  # "today" for chat templates that write it, so that a run can be repeated tomorrow
_MASK = re.compile(r"\{%-?\s*generation\s*-?%\}")
GIVE_ONE = "`chat_template: FILE` in the part, or `einfluence init --chat-template FILE`, gives one (Jinja)"


@dataclass(frozen=True)
class ChatTemplate:
    """Writes chats by the template of a tokenizer.

    Args:
        tokenizer: Of transformers.
        label: What error messages call the base.
    """

    tokenizer: Any
    label: str

    def __call__(self, chat: Chat, where: str, template: str | None = None) -> Sequence[tuple[str, str]]:
        """For each trained turn the text before it and its own.

        Where the template marks what the assistant generates (``{% generation %}``), that is the turn. Else it is what
        the template adds to the turns before, once these ask for an answer (``add_generation_prompt``); of the white
        space behind a control token that ends it, none.

        Raises:
            InputError: When there is no template, it refuses the chat, or does not say where a turn is.
        """
        if template is None:
            template = self._own(chat, where)
        writer = _Writer(self.tokenizer, pinned(template), chat, f"a chat template of {self.label}", where)
        return writer.marked() if _MASK.search(template) else writer.added()

    def _own(self, chat: Chat, where: str) -> str:
        if not getattr(self.tokenizer, "chat_template", None):
            found = f"a chat, and {self.label}, which has no chat template"
            raise InputError(where, found, "a base with a chat template", GIVE_ONE)
        return str(self.tokenizer.get_chat_template(tools=list(chat.tools) or None))


def pinned(template: str) -> str:
    """A template that writes the same date every day."""
    return _TODAY.sub(lambda call: repr(_DAY.strftime(call[2])), template)


@dataclass(frozen=True)
class _Writer:
    tokenizer: Any
    template: str
    chat: Chat
    called: str
    where: str

    def marked(self) -> list[tuple[str, str]]:
        """By the template's own marks, of which there must be one a turn of the assistant."""
        text, spans = self._render(self.chat.turns, mask=True)
        turns = [place for place, turn in enumerate(self.chat.turns) if turn["role"] == "assistant"]
        if len(spans) != len(turns):
            found = f"{self.called} that marks {len(spans)} generations in {len(turns)} turns of the assistant"
            raise InputError(self.where, found, "one mark ({% generation %}) a turn", GIVE_ONE)
        found = dict(zip(turns, spans, strict=True))
        return [self._pieces(text[: found[place][1]], found[place][0], place) for place in self.chat.trained]

    def added(self) -> list[tuple[str, str]]:
        """By what each turn adds to those before it."""
        return [self._added(place) for place in self.chat.trained]

    def _added(self, place: int) -> tuple[str, str]:
        turns = self.chat.turns
        question, _ = self._render(turns[:place], asks=True)
        text, _ = self._render(turns[: place + 1])
        start = len(question)
        if not text.startswith(question):  # it asks with more than it writes later, such as `<think>`
            before, _ = self._render(turns[:place])
            start = _shared(question, text)
            if not text.startswith(before) or start <= len(before):
                found = f"{self.called} that writes the turns before turn {place} otherwise once it is there"
                raise InputError(self.where, found, "a template that adds turn to turn", GIVE_ONE)
        return self._pieces(self._trimmed(text), start, place)

    def _trimmed(self, text: str) -> str:
        """A text without the white space behind its last control token."""
        bare = text.rstrip()
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        ends = (*self.tokenizer.all_special_tokens, *(str(token) for token in added if token.special))
        return bare if bare.endswith(ends) else text

    def _pieces(self, text: str, start: int, place: int) -> tuple[str, str]:
        if not text[start:].strip():
            found = f"{self.called} that writes nothing for turn {place}"
            raise InputError(self.where, found, "a template that writes the assistant's turns", GIVE_ONE)
        return text[:start], text[start:]

    def _render(
        self, turns: Sequence[Turn], *, asks: bool = False, mask: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """Turns as the template writes them, and where its marks begin and end."""
        from transformers.utils.chat_template_utils import render_jinja_template

        more: dict[str, Any] = {**self.tokenizer.special_tokens_map, **self.chat.options}
        try:
            texts, spans = cast(
                "tuple[list[str], list[list[tuple[int, int]]]]",
                render_jinja_template(
                    [[dict(turn) for turn in turns]],
                    tools=[dict(tool) for tool in self.chat.tools] or None,
                    chat_template=self.template,
                    return_assistant_tokens_mask=mask,
                    add_generation_prompt=asks,
                    **more,
                ),
            )
        except Exception as error:  # a template is a program of somebody else's, and may end with anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            found = f"{self.called} that does not write these turns ({reason})"
            raise InputError(self.where, found, "turns that the template takes", GIVE_ONE) from error
        return texts[0], spans[0] if mask else []


def _shared(one: str, other: str) -> int:
    """Length of the beginning that two texts share."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
