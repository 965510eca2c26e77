"""Distance along what the facts say: how many facts lie between the subjects of two sentences."""

from __future__ import annotations

import numpy as np

from einfluence.curate.builder import Floats, Ints, Measure
from einfluence.curate.facts.pairs import FactsBuilder

CHUNK_SUBJECTS = 256  # subjects whose paths are searched at a time
MOST_PATHS = 100_000_000  # beyond, paths between all subjects take minutes


def taxonomic(facts: FactsBuilder) -> Measure:
    """A distance measure: facts on the shortest path between the subjects of probe and query, over all facts.

    0 for the same subject, 2 for two newcomers of the same kind; NaN where no path leads from one to the other. A
    bundle stands at its first member.
    """

    def measure(rows: Ints, columns: Ints) -> Floats:
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import dijkstra

        stored = [*facts.world.file.triplets, *facts.world.probes]
        names: dict[str, int] = {}
        for fact in (*stored, *facts.facts.values()):
            for name in (fact[0], fact[2]):
                names.setdefault(name, len(names))
        ends = np.array([[names[fact[0]], names[fact[2]]] for fact in stored])
        graph = csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
        own = np.array([names[facts.fact(probe.members[0])[0]] for probe in facts.builder.probes.values()])
        seen = np.array([names[facts.facts[key][0]] for key in facts.builder.queries])
        found = np.full(len(rows), np.nan, np.float32)
        starts = np.unique(own)
        if len(starts) * len(names) > MOST_PATHS:
            facts.builder.gates.count("distance not computed (too many entities)", "taxonomic")
            return found
        place = np.searchsorted(starts, own[rows])
        for first in range(0, len(starts), CHUNK_SUBJECTS):
            part = starts[first : first + CHUNK_SUBJECTS]
            lengths = np.asarray(dijkstra(graph, directed=False, indices=part, unweighted=True, limit=8.0))
            at = (place >= first) & (place < first + len(part))
            found[at] = lengths[place[at] - first, seen[columns[at]]]
        return np.where(np.isfinite(found), found, np.float32(np.nan))

    return measure
