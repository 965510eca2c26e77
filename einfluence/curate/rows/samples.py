"""From what rows say to samples: their names, and one sample for each thing that is a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from einfluence.curate.records import Record, id_field, text_field
from einfluence.curate.rows.chats import ASSISTANT
from einfluence.curate.rows.content import Chat, ChatWriter, Pair, Text, Written
from einfluence.curate.rows.shapes import Shape
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Sample

if TYPE_CHECKING:
    from einfluence.curate.builder import Gates

DIGITS = 12
"""Of the hash that an id is made of."""
TURNS = "chats of several answers (trained together, each a query of its own)"
OPENING = "answers that open a chat (not trained)"
UNANSWERED = "turns behind the last answer of a chat (not read)"
RUN_TOGETHER = "words that run together at the joint (verbatim, as files of this shape have it)"


@dataclass(frozen=True)
class Made:
    """What a row becomes.

    Args:
        name: Its id, given or made.
        samples: What is trained, together where they are several.
        others: What is only queried: the rejected answer of a pair.
        words: What the row itself says, where a chat template has written the samples.
        chat: The chat that its samples are the answers of, in order.
    """

    name: str
    samples: tuple[Sample, ...]
    others: tuple[Sample, ...] = ()
    words: str = ""
    chat: Written | None = None


class Names:
    """Ids of rows: their own, or made from their content.

    The n-th row of equal content has ``-n`` behind it, so that equal rows differ and no other id hangs on their order.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    def of(self, where: str, fields: Mapping[str, Any], content: object) -> str:
        """The id of a row.

        Raises:
            InputError: For an `id` that is none, and for two contents of one made id.
        """
        if "id" in fields:
            return id_field(where, fields, "id")
        whole = content_hash(content)
        made = whole[:DIGITS]
        first, count = self._seen.get(made, (whole, 0))
        if first != whole:
            raise InputError(where, f"the made id {made!r} of two rows", "an `id` in each row")
        self._seen[made] = whole, count + 1
        return f"{made}-{count + 1}" if count else made


@dataclass
class TextRows:
    """Makes samples of rows of texts and chats.

    Args:
        gates: Counts what is worth knowing.
        join: What the part puts between prompt and target.
        chat: Whether texts are written as turns of a chat.
        template: A chat template instead of the base's.
        write: Writes a chat as the base reads it; None without a base that has chats.
    """

    gates: Gates
    join: str | None = None
    chat: bool = False
    template: str | None = None
    write: ChatWriter | None = None

    def read(self, shape: Shape, rows: Sequence[Record]) -> Iterator[Made]:
        """What rows of a shape become.

        Raises:
            InputError: For one that cannot be read.
        """
        names = Names()
        for where, fields in rows:
            row_content = shape.read(where, fields)
            name = names.of(where, fields, row_content.content)
            if isinstance(row_content, Pair):
                yield self._pair(where, fields, row_content, name)
            else:
                samples, words, chat = self._samples((where, shape.needs[-1]), fields, row_content, name)
                yield Made(name, samples, (), words, chat)

    def _pair(self, where: str, fields: Mapping[str, Any], pair: Pair, name: str) -> Made:
        samples, words, chat = self._samples((where, "chosen"), fields, pair.chosen, name)
        others, more, _ = self._samples((where, "rejected"), fields, pair.rejected, f"{name}/rejected")
        return Made(name, samples, others, f"{words}\n{more}" if words else "", chat)

    def _samples(
        self, at: tuple[str, str], fields: Mapping[str, Any], row_content: Text | Chat, name: str
    ) -> tuple[tuple[Sample, ...], str, Written | None]:
        """A sample of each target in a row and column, and the words and the whole of a chat."""
        where, column = at
        if isinstance(row_content, Text) and not self.chat:
            return (
                (
                    _sample(
                        where, fields, name, row_content.prompt, row_content.target, self._between(where, row_content)
                    ),
                ),
                "",
                None,
            )
        chat = row_content if isinstance(row_content, Chat) else self._as_chat(where, row_content)
        if self.write is None:
            found, expected = "a chat, and no base that writes chats", "a language model with a chat template"
            raise InputError(f"{where} {column}", found, expected)
        self.gates.count(OPENING, where, int(chat.turns[0]["role"] == ASSISTANT))
        self.gates.count(UNANSWERED, where, int(chat.turns[-1]["role"] != ASSISTANT))
        self.gates.count(TURNS, f"{where} {name}: {len(chat.trained)}", int(len(chat.trained) > 1))
        write = partial(self.write, where=f"{where} {column}", template=self.template)
        written = write(chat)
        whole = Written(chat, write, tuple(range(len(written))))
        words = "\n".join(str(turn["content"]) for turn in chat.turns)
        if len(written) == 1:
            return (_sample(where, fields, name, *written[0], ""),), words, whole
        each = enumerate(written, start=1)
        made = (_sample(where, fields, f"{name}/{place}", *pieces, "") for place, pieces in each)
        return tuple(replace(sample, cluster=sample.cluster or name) for sample in made), words, whole

    def _as_chat(self, where: str, text: Text) -> Chat:
        if self.join is not None or text.join is not None:
            raise InputError(f"{where} join", "`join` under `chat: true`", "one of the two")
        if not text.prompt.strip():
            raise InputError(where, "a text without a prompt under `chat: true`", "a prompt, as the user's turn")
        question, answer = {"role": "user", "content": text.prompt}, {"role": ASSISTANT, "content": text.target}
        return Chat((question, answer), (1,))

    def _between(self, where: str, text: Text) -> str | None:
        """What stands between prompt and target: as the row, the part or the shape has it; None takes the rule."""
        if text.join is not None or self.join is not None:
            return text.join if text.join is not None else self.join
        if text.usual == "":
            touch = bool(text.prompt) and text.prompt[-1].isalnum() and text.target[0].isalnum()
            self.gates.count(RUN_TOGETHER, f"{where}: {text.prompt[-20:]!r} {text.target[:20]!r}", int(touch))
        return text.usual


def _sample(where: str, fields: Mapping[str, Any], name: str, prompt: str, target: str, join: str | None) -> Sample:
    return Sample(
        name=name,
        prompt=prompt,
        target=target,
        domain=text_field(where, fields, "group", ""),
        cluster=text_field(where, fields, "cluster", ""),
        template=text_field(where, fields, "template") if "template" in fields else None,
        join=join,
        source=where,
    )
