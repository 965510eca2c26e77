"""Which fact is behind each sample, and hence what pairs without a claim are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from einfluence.curate.builder import KINDS, Codes, CurationBuilder, Ints
from einfluence.curate.facts.schema import Triplet, World


@dataclass
class FactsBuilder:
    """The curation and, for each of its samples, the facts behind it.

    Args:
        builder: Samples, probes, queries, claims.
        world: The facts file.
        facts: The fact that a sample states, by ``sample_id``.
        touched: Names and relations that a probe has to do with, by ``probe_id``.
        statements: Samples that are plain statements; only these can be neighbours.
        gibberish: Shuffled samples; nothing is claimed about them as queries.
        kinds: The kinds that are wanted.
    """

    builder: CurationBuilder
    world: World
    facts: dict[str, Triplet] = field(default_factory=dict[str, Triplet])
    touched: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict[str, tuple[set[str], set[str]]])

    statements: set[str] = field(default_factory=set[str])
    gibberish: set[str] = field(default_factory=set[str])
    kinds: frozenset[str] = frozenset(KINDS)

    def fact(self, sample_id: str) -> Triplet:
        """The fact that a sample states; of a noisy version, that of its clean sample."""
        return self.facts[sample_id if sample_id in self.facts else self.builder.samples[sample_id].parent_id or ""]

    def default_kind(self, probes: Ints, queries: Ints) -> Codes:
        """``neighbour``, ``unrelated`` or nothing, for pairs without a claim."""
        names, relations = dict[str, int](), dict[str, int]()
        members = [self.fact(probe.members[0]) for probe in self.builder.probes.values()]
        single = np.array([len(probe.members) == 1 for probe in self.builder.probes.values()])
        own = _numbers(members, names, relations)
        query = _numbers([self.facts[key] for key in self.builder.queries], names, relations)
        stated = np.array([key in self.statements for key in self.builder.queries])
        silent = np.array([key in self.gibberish for key in self.builder.queries])
        touched = [self.touched.get(key, (set[str](), set[str]())) for key in self.builder.probes]
        near_names = _padded([_number(found, names) for found, _ in touched])
        near_relations = _padded([_number(found, relations) for _, found in touched])
        neighbour, unrelated = (KINDS.index(kind) if kind in self.kinds else -1 for kind in ("neighbour", "unrelated"))
        code = np.full(len(probes), -1, np.int8)
        for start in range(0, len(probes), 1_000_000):
            at = slice(start, start + 1_000_000)
            left, right = probes[at], query[queries[at]]
            same_object = (own[left, 2] == right[:, 2]) & (own[left, 1] != right[:, 1]) & (own[left, 0] != right[:, 0])
            near = _any_equal(near_relations, left, right[:, 1])
            near |= _any_equal(near_names, left, right[:, 0]) | _any_equal(near_names, left, right[:, 2])
            part = np.where(near | silent[queries[at]], -1, unrelated)
            found = same_object & single[left] & stated[queries[at]]
            code[at] = np.where(found, neighbour, np.where(same_object, -1, part))
        return code


def _number(found: Iterable[str], numbers: dict[str, int]) -> list[int]:
    """Numbers of names, new ones in the order in which they come."""
    return [numbers.setdefault(name, len(numbers)) for name in found]


def _numbers(facts: Sequence[Triplet], names: dict[str, int], relations: dict[str, int]) -> np.ndarray:
    """Numbers of (subject, relation, object): an int array (facts, 3)."""
    columns = [_number((fact[place] for fact in facts), relations if place == 1 else names) for place in range(3)]
    return np.array(columns, np.int32).T.reshape(-1, 3)


def _padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    width = max((len(row) for row in rows), default=0)
    padded = np.full((len(rows), width), -1, np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


def _any_equal(near: np.ndarray, rows: Ints, values: np.ndarray) -> np.ndarray:
    found = np.zeros(len(rows), bool)
    for column in range(near.shape[1]):
        found |= near[rows, column] == values
    return found
