"""The prompting arm: what the model says about a query when the probe stands in its prompt.

I(i -> j) = log p(target_j | text_i, join, prompt_j) - log p(target_j | prompt_j). Nothing is trained.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

from einfluence.engine import reader
from einfluence.engine.encode import encode_text, joined
from einfluence.engine.items import Scores, Tuned
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.samples import Sample
from einfluence.spec import Prompting


def prompted(
    base: Base, recipe: Prompting, probes: Sequence[Sequence[Sample]], queries: Sequence[Sample]
) -> tuple[Scores, Iterator[tuple[int, Tuned, Scores | None]]]:
    """Scores Q queries alone, and behind each of N probes.

    Args:
        base: A text base.
        recipe: What stands between probe and query, or the chat template.
        probes: N probes; the members of a bundle are joined in order.
        queries: Q queries.

    Returns:
        As :func:`einfluence.engine.measure`; nothing is tuned, so ``delta`` and ``losses`` are empty.

    Raises:
        InputError: For an image base or a missing chat template. A probe that does not fit into the context before
            some query fails alone.
    """
    if base.info.modality != "text":
        raise InputError(
            "arms", "the estimator in_context for an image base", "a text base, since an image has no prompt"
        )
    if recipe.chat and not getattr(base.tokenizer, "chat_template", None):
        raise InputError(
            "arms recipe.chat", f"{base.info.label}, which has no chat template", "`chat: false`, or a chat model"
        )
    read = reader(base, recipe.dtype)
    before = read([encode_text(base, query.prompt, query.target, _where(query)) for query in queries])

    def each() -> Iterator[tuple[int, Tuned, Scores | None]]:
        for index, probe in enumerate(probes):
            start = time.perf_counter()
            try:
                opening = context(base, recipe, probe)
                items = [encode_text(base, opening + each.prompt, each.target, _where(each, probe)) for each in queries]
            except InputError as error:  # this probe is too long to be read before the queries; others may fit
                yield index, Tuned({}, [], math.nan, math.nan, failed=str(error)), None
                continue
            after = read(items)
            seconds = time.perf_counter() - start
            yield index, Tuned({}, [], math.nan, 0.0, {}, seconds, engine=read.engine, fallback=read.fallback), after

    return before, each()


def context(base: Base, recipe: Prompting, probe: Sequence[Sample]) -> str:
    """What stands before a query's prompt: the probe's samples, each followed by the join, or as a user's turn."""
    join = base.join if recipe.join is None else recipe.join
    texts = [joined(sample.prompt, sample.target)[0] for sample in probe]
    if not recipe.chat:
        return "".join(text + join for text in texts)
    turns = [{"role": "user", "content": join.join(texts)}]
    return base.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def _where(query: Sample, probe: Sequence[Sample] = ()) -> str:
    behind = f" behind probe {probe[0].name}" if probe else ""
    return f"{query.source or 'sample'} ({query.name}){behind}"
