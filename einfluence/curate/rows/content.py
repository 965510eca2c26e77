"""What a row says, whatever the columns that say it: a text, a chat, or a pair of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

Turn = Mapping[str, Any]
"""A turn of a chat as chat templates take it: `role`, `content` and whatever else it has, such as `tool_calls`."""


@dataclass(frozen=True)
class Text:
    """A text whose end is the target.

    Args:
        prompt: Text before the target; may be empty.
        target: What is trained and watched.
        join: What the row puts between the two; None where it does not say.
        usual: What files of this shape put there; None takes the rule of :func:`einfluence.joint.gap`.
    """

    prompt: str
    target: str
    join: str | None = None
    usual: str | None = None

    @property
    def content(self) -> tuple[object, ...]:
        """What an id is made of."""
        return ("text", self.prompt, self.target, *(() if self.join is None else (self.join,)))


@dataclass(frozen=True)
class Chat:
    """A conversation of which some of the assistant's turns are targets.

    Args:
        turns: All turns, in order.
        trained: Places in ``turns`` of those that are targets; at least one.
        tools: Descriptions of tools for the chat template.
        options: What else the chat template is given.
    """

    turns: tuple[Turn, ...]
    trained: tuple[int, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def content(self) -> tuple[object, ...]:
        """What an id is made of."""
        return ("chat", self.turns, self.trained, self.tools, self.options)


@dataclass(frozen=True)
class Pair:
    """An answer that was preferred to another one."""

    chosen: Text | Chat
    rejected: Text | Chat

    @property
    def content(self) -> tuple[object, ...]:
        """What an id is made of."""
        return ("pair", self.chosen.content, self.rejected.content)


Content = Text | Chat | Pair


class ChatWriter(Protocol):
    """Writes a chat as a base reads it."""

    def __call__(self, chat: Chat, where: str, template: str | None = None) -> Sequence[tuple[str, str]]:
        """For each trained turn the text before it and its own, by the base's chat template or by ``template``.

        Raises:
            InputError: When there is no template, or it does not write this chat.
        """
        ...


HEARD = ("system", "developer", "user")
"""Roles whose words the model only hears."""


@dataclass(frozen=True)
class Written:
    """A chat that has been written as a base reads it, to be written again in other words.

    Args:
        chat: The chat.
        write: Gives for each trained turn the text before it and its own.
        answers: Which of the trained turns are meant.
    """

    chat: Chat
    write: Callable[[Chat], Sequence[tuple[str, str]]]
    answers: tuple[int, ...]

    def again(self, change: Callable[[str], str]) -> list[tuple[str, str]]:
        """The text before each answer and the answer, where what system and user say is changed and nothing else."""
        turns = (
            {**turn, "content": change(turn["content"])} if turn["role"] in HEARD else turn for turn in self.chat.turns
        )
        written = self.write(replace(self.chat, turns=tuple(turns)))
        return [written[answer] for answer in self.answers]
