"""Which cells are measured of an arm that measures some of them, held against hashes that are taken by hand."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from einfluence.samples import Curated
from einfluence.sampling import GROUPS
from einfluence.store.sampling import SampledBlock
from einfluence.store.schema import TABLES
from einfluence.store.store import ArmKey, Store
from tests.store.made_up import ARM, computed

QUERIES = [f"q{n}" for n in range(240)]
PROBES = {"a": ["s0"], "b": ["s1"], "ab": ["s0", "s1"], "noisy a": ["n0"]}
CLAIMS = {("a", "q1"): "paraphrase", ("b", "q2"): "negation", ("ab", "q3"): "entailed", ("a", "q4"): "unrelated"}


def curated() -> Curated:
    """Two samples, a bundle of both, and a noisy version of the first."""
    samples = [{"sample_id": name, "name": name, "modality": "text", "parent_id": "s0" if name == "n0" else None}
               for name in ("s0", "s1", "n0", *QUERIES)]  # fmt: skip
    members = [{"probe_id": name, "position": place, "sample_id": sample}
               for name, some in PROBES.items() for place, sample in enumerate(some)]  # fmt: skip
    pairs = [{"probe_id": probe, "query_id": query, "kind": CLAIMS.get((probe, query))}
             for probe in PROBES for query in QUERIES]  # fmt: skip
    probes = [{"probe_id": name, "name": name, "kind": "sample"} for name in PROBES]
    rows = {"samples": samples, "probes": probes, "probe_members": members, "relations": pairs, "distances": []}
    return Curated(**{n: pa.Table.from_pylist(r, TABLES[n]) for n, r in rows.items()}, report=pa.table({"gate": []}))


def by_hand(groups: int) -> dict[str, set[str]]:
    """The queries of each probe: what is claimed of it or of a bundle that it is in, and its first groups."""
    clean = {"a": "s0", "b": "s1", "ab": "s0", "noisy a": "s0"}
    claims = {"a": {"q1", "q3"}, "b": {"q2", "q3"}, "ab": {"q3"}, "noisy a": set[str]()}

    def group(query: str) -> int:
        return int.from_bytes(hashlib.md5(query.encode()).digest()[8:], "little") % GROUPS

    found: dict[str, set[str]] = {}
    for probe, sample in clean.items():
        order = sorted(range(GROUPS), key=lambda each: hashlib.md5(f"{sample} {each}".encode()).hexdigest())
        found[probe] = {query for query in QUERIES if group(query) in order[:groups]} | claims[probe]
    return found


def cells(blocks: list[SampledBlock]) -> dict[str, set[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for block in blocks:
        for probes, queries in block.pieces:
            for probe in probes:
                found[block.probe_ids[probe]] += [block.query_ids[query] for query in queries]
    assert all(len(set(queries)) == len(queries) for queries in found.values())
    return {probe: set(queries) for probe, queries in found.items()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.open_for_writing()
    made.add_curation("c" * 20, curated(), {})
    return made


def missing(store: Store, groups: int, size: int = 64, arm: ArmKey = ARM) -> tuple[int, list[SampledBlock]]:
    return store.missing_sampled(store.root / "curations" / ("c" * 20), arm, size, groups)


@pytest.mark.parametrize("groups", [1, 4, 19])
def test_a_probe_meets_what_is_claimed_and_the_first_of_its_groups(store: Store, groups: int) -> None:
    wanted, blocks = missing(store, groups)
    assert cells(blocks) == by_hand(groups)
    assert wanted == sum(map(len, by_hand(groups).values())) == sum(block.cells for block in blocks)
    assert by_hand(groups)["a"] - {"q1", "q3"} == by_hand(groups)["noisy a"] - {"q1", "q3"}
    assert [block.probe_ids for block in missing(store, groups, size=2)[1]] == [("a", "b"), ("ab", "noisy a")]


def test_more_groups_only_add_cells_and_what_is_there_is_not_missing(store: Store) -> None:
    few, more = by_hand(4), by_hand(9)
    assert all(few[probe] < more[probe] for probe in few)
    for block in missing(store, 4)[1]:
        rows = computed(block)
        keep = [
            q in few[p]
            for p, q in zip(*(rows["influence"][n].to_pylist() for n in ("probe_id", "query_id")), strict=True)
        ]
        store.add_part(ARM, {**rows, "influence": rows["influence"].filter(pa.array(keep))})
    assert missing(store, 4)[1] == []
    assert cells(missing(store, 9)[1]) == {probe: more[probe] - few[probe] for probe in few}


def test_what_two_probes_have_in_common_is_read_together(store: Store) -> None:
    (block,) = missing(store, 12)[1]
    assert max(len(probes) for probes, _ in block.pieces) > 1
    assert len(block.pieces) <= GROUPS * 4 + len(PROBES)
    found = np.zeros((len(block.probe_ids), len(block.query_ids)), int)
    for probes, queries in block.pieces:
        found[np.ix_(probes, queries)] += 1
    assert found.max() == 1 and found.sum() == block.cells


def test_the_views_draw_what_the_plan_draws(store: Store) -> None:
    store.point_study("s", "c" * 20, 1, [(ARM.base, ARM.recipe, 4, "control")])
    with store.connect() as connection:
        rows = connection.sql("select probe_id, query_id, share, drawn, base, recipe, control from sampled").fetchall()
        counts = dict(connection.sql("select probe_id, queries from wanted").fetchall())
    found: dict[str, set[str]] = defaultdict(set)
    for probe, query, share, drawn, *arm in rows:
        found[probe] |= {query} if drawn else set()
        claimed = query in {"a": {"q1", "q3"}, "b": {"q2", "q3"}, "ab": {"q3"}}.get(probe, set())
        assert share == (1.0 if claimed else 0.2)
        assert arm == [ARM.base, ARM.recipe, "control"]
    assert len(rows) == len(PROBES) * len(QUERIES) and dict(found) == by_hand(4)
    assert counts == {probe: len(queries) for probe, queries in by_hand(4).items()}


def test_where_parts_share_an_arm_only_what_all_of_them_draw_is_a_sample(store: Store) -> None:
    store.add_curation("d" * 20, curated(), {})
    store.point_study("s", "c" * 20, 1, [(ARM.base, ARM.recipe, 4, "control")])
    store.point_study("t", "d" * 20, 2, [(ARM.base, ARM.recipe)])
    with store.connect() as connection:
        assert connection.sql("select max(share) from sampled where query_id = 'q9'").fetchall() == [(0.2,)]
        assert connection.sql("select distinct queries from wanted").fetchall() == [(len(QUERIES),)]
    store.point_study("t", "d" * 20, 2, [(ARM.base, ARM.recipe, 9, "control")])
    with store.connect() as connection:
        drawn = sum(map(len, by_hand(4).values()))
        assert connection.sql("select count(*) from sampled where drawn").fetchall() == [(drawn,)]
        counts = dict(connection.sql("select probe_id, queries from wanted").fetchall())
    assert counts == {probe: len(queries) for probe, queries in by_hand(9).items()}


def test_a_store_without_such_an_arm_has_no_such_rows(store: Store) -> None:
    store.point_study("s", "c" * 20, 1, [(ARM.base, ARM.recipe)])
    with store.connect() as connection:
        for name in ("sampled", "influence_inferred"):
            assert connection.sql(f"select count(*) from {name}").fetchall() == [(0,)]
            assert connection.table(name).columns == TABLES[name].names
