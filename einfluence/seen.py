"""What the model sees of samples: their tokens, with everything visible that a terminal would hide."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from einfluence.arms import InContext
from einfluence.estimators.in_context import beginning, context
from einfluence.inputs import part_base
from einfluence.models.base import HasTokens, Item, Tokens
from einfluence.objectives import encode
from einfluence.objectives.causal_lm import encode_text
from einfluence.samples import Curated
from einfluence.session import Session
from einfluence.spec import Part, Spec
from einfluence.store.curations import sample_rows

ROWS = 8
_SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥"}


class Seen(NamedTuple):
    """What the base sees of a text.

    Args:
        who: Which sample.
        tokens: Its tokens, as :func:`marked` writes them.
        size: How many the model reads.
        trained: How many targets there are: the last ones of a text to be continued.
    """

    who: str
    tokens: str
    size: int
    trained: int


def seen(spec: Spec, part: Part, curated: Curated, session: Session, rows: int = ROWS) -> Iterator[Seen]:
    """What the base sees of the first samples; and of a query behind a probe, for each arm that prompts.

    Args:
        spec: The spec.
        part: Its part.
        curated: What was curated of it, fit for the base.
        session: Of this process.
        rows: How many samples.

    Yields:
        One a text; nothing for a base whose samples are no tokens.
    """
    base = session.base(part_base(spec, part, session), part.trust_remote_code)
    objective = base.objective
    if not isinstance(objective, HasTokens):
        return
    few = list(sample_rows(curated.samples.slice(0, rows)))
    for sample in few:
        yield _seen(objective, visible(sample.name), encode(base, sample))
    for arm in part.arms if "causal text" in objective.can else ():
        if isinstance(arm, InContext) and few:
            probe, query = few[0], few[-1]
            text = context(base, arm.recipe, [probe]) + query.prompt
            bos = beginning(base, arm.recipe)
            item = encode_text(base, text, query.target, query.name, join=query.gap, bos=bos)
            yield _seen(objective, f"{visible(query.name)} behind {visible(probe.name)}, {arm.recipe.label}", item)


def _seen(objective: HasTokens, who: str, item: Item) -> Seen:
    return Seen(who, marked(objective.tokens(item)), item.size, item.n_target)


def marked(found: Tokens) -> str:
    """What the model reads, with ``‖`` before each target: ``[ada‖B-per][lives]``, ``[The][␣capital]‖[␣Paris]``.

    Blanks, line ends and tabs are ␣, ⏎ and ⇥; other characters that cannot be seen are escaped.
    """

    def word(target: int | str) -> str:
        return visible(target) if isinstance(target, str) else _piece(found.tokenizer, target)

    marks = {place: f"‖{word(target)}" for place, target in found.marked.items()}
    text = "".join(f"[{_piece(found.tokenizer, token)}{marks.get(at, '')}]" for at, token in enumerate(found.ids))
    behind = "".join(f"[{word(target)}]" for target in found.behind)
    return f"{text}‖{behind}" if behind else text


def visible(text: str) -> str:
    """A text with signs for its white space, and escapes for what else cannot be seen."""
    return "".join(_SIGNS.get(character) or _escaped(character) for character in text)


def _escaped(character: str) -> str:
    hidden = unicodedata.category(character)[0] in "CZ"
    return character.encode("unicode_escape", "surrogatepass").decode() if hidden else character


def _piece(tokenizer: Any, token: int) -> str:
    piece = str(tokenizer.convert_ids_to_tokens(token))
    if token in tokenizer.all_special_ids:
        return visible(piece)
    if _in_bytes(tokenizer) and all(letter in _bytes_of() for letter in piece):
        # part of a character stays escaped: a token may end within one
        return visible(bytes(_bytes_of()[letter] for letter in piece).decode("utf-8", "backslashreplace"))
    return visible(piece.replace("▁", " "))


def _in_bytes(tokenizer: Any) -> bool:
    return tokenizer.is_fast and "ByteLevel" in repr(tokenizer.backend_tokenizer.decoder)


@cache
def _bytes_of() -> dict[str, int]:
    """The byte that stands behind each letter of a byte-level vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}
