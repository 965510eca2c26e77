"""The prompting arm: the log-prob of a query's target when the probe is in its prompt.

I(i -> j) = log p(target_j | text_i, join, prompt_j) - log p(target_j | prompt_j). Nothing is trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from einfluence.arms import InContext
from einfluence.engine import CheckedScorer
from einfluence.engine.measurement import MeasuredRow, Measurement, Tuned
from einfluence.errors import InputError
from einfluence.models.base import Base, Bos
from einfluence.objectives.causal_lm import TextItem, causal
from einfluence.objectives.chat import pinned
from einfluence.recipe import Prompting
from einfluence.samples import ProbeSamples, Sample

CHAT = "arms recipe.chat"


def block(
    base: Base,
    arm: InContext,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
) -> Measurement:
    """Scores Q queries alone, and behind each of N probes, the members of a bundle joined in order.

    See :class:`einfluence.estimators.measure.Implementation`. Nothing is tuned, so ``delta`` and ``losses`` are empty.

    Raises:
        InputError: For a chat template that is missing or takes no user's turn. A probe that does not fit into the
            context before some query, or whose turn the template refuses, fails alone.
    """
    recipe = arm.recipe
    bos = beginning(base, recipe)
    read = CheckedScorer(base, recipe.dtype)
    before = read(prompted(base, queries, bos=bos))

    def each() -> Iterator[MeasuredRow]:
        for index, probe in enumerate(each.samples for each in probes):
            start = time.perf_counter()
            try:
                opening = context(base, recipe, probe)
                items = prompted(base, queries, opening, probe, bos)
            except InputError as error:  # this probe is too long to be read before the queries; others may fit
                yield MeasuredRow(index, Tuned({}, [], math.nan, math.nan, failed=str(error)), None)
                continue
            after = read(items)
            seconds = time.perf_counter() - start
            tuned = Tuned({}, [], math.nan, 0.0, {}, seconds, engine=read.engine, fallback=read.fallback)
            yield MeasuredRow(index, tuned, after)

    return Measurement(before, each())


def context(base: Base, recipe: Prompting, probe: Sequence[Sample]) -> str:
    """What comes before a query's prompt: the probe's samples, each followed by the join, or as a user's turn.

    Raises:
        InputError: When the chat template refuses the turn, or cannot be read.
    """
    join = causal(base).join if recipe.join is None else recipe.join
    texts = [sample.text for sample in probe]
    if not recipe.chat:
        return "".join(text + join for text in texts)
    return _as_a_turn(base, join.join(texts), CHAT)


def beginning(base: Base, recipe: Prompting, where: str = CHAT) -> Bos | None:
    """How texts begin in an arm: ``always`` with bos where a chat template writes it itself; None as ever.

    So queries alone begin like those behind a probe.

    Raises:
        InputError: When there is no template, it refuses a user's turn, or it cannot be read.
    """
    if not recipe.chat:
        return None
    if not getattr(causal(base).tokenizer, "chat_template", None):
        raise InputError(where, f"{base.info.label}, which has no chat template", "`chat: false`, or a chat model")
    tokens = causal(base).tokenizer(_as_a_turn(base, "text", where), add_special_tokens=False)["input_ids"]
    bos = getattr(causal(base).tokenizer, "bos_token_id", None)
    return "always" if bos is not None and tokens[:1] == [bos] else None


def _as_a_turn(base: Base, text: str, where: str) -> str:
    options = {"tokenize": False, "add_generation_prompt": True}
    try:
        template = pinned(causal(base).tokenizer.get_chat_template())
        return causal(base).tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], chat_template=template, **options
        )
    except Exception as error:  # a template is a program of somebody else's, and may end with anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        found = f"a chat template of {base.info.label} that does not write one user's turn ({reason})"
        fix = "`chat: false` puts the probe into the prompt as plain text"
        raise InputError(where, found, "a template that takes a single user's turn", fix) from error


def prompted(
    base: Base, queries: Sequence[Sample], opening: str = "", probe: Sequence[Sample] = (), bos: Bos | None = None
) -> list[TextItem]:
    """Queries, alone or behind a probe; what comes before a query's target is the same in both."""
    texts = [(opening + query.prompt, query.target, query.gap) for query in queries]
    return causal(base).encode_texts(texts, [_where(query, probe) for query in queries], bos)


def _where(query: Sample, probe: Sequence[Sample] = ()) -> str:
    behind = f" behind probe {probe[0].name}" if probe else ""
    return f"{query.source or 'sample'} ({query.name}){behind}"
