"""Control samples: what a probe should not be told apart from, if only its words mattered."""

from __future__ import annotations

from einfluence.keys import content_hash
from einfluence.samples import Sample


def shuffled_words(sample: Sample, seed: int) -> Sample | None:
    """The same words in another order, the last ones the target; None where there is no other order."""
    words, tail = [*sample.prompt.split(), *sample.target.split()], len(sample.target.split())
    for attempt in range(20):
        draw = int(content_hash(("shuffle", seed, attempt, sample.sample_id)), 16)
        left, order = list(words), list[str]()
        while left:
            draw, index = divmod(draw, len(left))
            order.append(left.pop(index))
        if order != words and order[-1] != words[-1]:
            return Sample(
                name=f"{sample.name}:shuffled", prompt=" ".join(order[:-tail]), target=" ".join(order[-tail:]),
                domain=sample.domain, cluster=sample.cluster, source=sample.source,
            )  # fmt: skip
    return None
