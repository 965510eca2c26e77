"""The whole scorecard's values again, from the tables alone, with NumPy and SciPy instead of SQL."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import duckdb
import numpy as np
import pytest
from scipy import stats

from einfluence.metrics import score
from tests.metrics.synthetic import synthetic

Row = dict[str, tuple[float, str | None, float | None]]  # influence, kind, distance by query


def gini(sizes: np.ndarray) -> float:
    return float(np.abs(sizes[:, None] - sizes[None, :]).mean() / (2 * sizes.mean()))


class Reference:
    """Rows of one arm and seed by probe."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, estimator: str, recipe: str, seed: int) -> None:
        cells = connection.execute(
            "select probe_id, query_id, influence, kind, distance from influence join relations"
            " using (probe_id, query_id) where estimator = $1 and recipe = $2 and seed = $3",
            [estimator, recipe, seed],
        ).fetchall()
        self.rows: dict[str, Row] = defaultdict(dict)
        for probe, query, influence, kind, distance in cells:
            self.rows[probe][query] = (influence, kind, distance)
        about = connection.execute(
            "select probe_id, probes.kind, sample_id, parent_id, noise, level from probes join probe_members"
            " using (probe_id) join samples using (sample_id) where position = 0"
        ).fetchall()
        self.about = {row[0]: row[1:] for row in about}
        self.probe_of = {sample: probe for probe, (kind, sample, *_) in self.about.items() if kind == "sample"}

    def of_kind(self, probe: str, kind: str) -> np.ndarray:
        return np.array([value for value, each, _ in self.rows[probe].values() if each == kind])

    def expected(self) -> dict[tuple[str, str], dict[str, float]]:
        out: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for probe, (kind, sample, *_) in self.about.items():
            if probe not in self.rows or kind != "sample":
                continue
            own = self.rows[probe][sample][0] if sample in self.rows[probe] else np.nan
            out["gate", "learned"][probe] = float(own > 0) if np.isfinite(own) else np.nan
            if own > 0:
                self.add(out, probe, sample, own)
        return out

    def add(self, out: dict[tuple[str, str], dict[str, float]], probe: str, sample: str, own: float) -> None:
        row = self.rows[probe]
        sizes = np.abs([value for value, _, _ in row.values()])
        rest = [(abs(value), distance) for query, (value, _, distance) in row.items() if query != sample]
        out["semantic_decay", "spearman"][probe] = -stats.spearmanr(*zip(*rest, strict=True)).statistic
        out["sparseness", "gini"][probe] = gini(sizes)
        out["sparseness", "participation"][probe] = (sizes**2).sum() ** 2 / (len(sizes) * (sizes**4).sum())
        names = ("unrelated", "paraphrase", "negation", "entailed", "sibling", "contrapositive", "reversed")
        kinds = {name: self.of_kind(probe, name) for name in names}
        out["leakage", "score"][probe] = float(np.median(np.abs(kinds["unrelated"]))) / own
        para, neg, entailed, sibling = (kinds[k] for k in ("paraphrase", "negation", "entailed", "sibling"))
        if len(para):
            out["paraphrase", "score"][probe] = float(np.median(para)) / own
        if len(neg):
            out["negation", "P(negation < 0)"][probe] = float((neg < 0).mean())
            if len(para):
                a, b = np.median(para), np.median(neg)
                out["negation", "contrast"][probe] = float((a - b) / (abs(a) + abs(b)))
        if len(entailed):
            out["transitivity", "score"][probe] = float(np.median(entailed)) / own
            if len(sibling):
                out["transitivity", "P(entailed > sibling)"][probe] = float((entailed[:, None] > sibling).mean())
        if len(kinds["contrapositive"]):
            a, b = np.median(kinds["contrapositive"]), np.median(kinds["reversed"])
            out["contrapositive", "score"][probe] = float(a) / own
            out["direction", "contrast"][probe] = float((a - b) / (abs(a) + abs(b)))
        self.add_noise(out, probe, sample, own)

    def add_noise(self, out: dict[tuple[str, str], dict[str, float]], probe: str, sample: str, own: float) -> None:
        found_levels: dict[str, list[float]] = defaultdict(list)
        for *_, noise, level in self.about.values():
            found_levels[noise or ""].append(level or 0.0)
        by_family: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
        for noisy, (kind, _, parent, noise, level) in self.about.items():
            if kind == "noisy" and parent == sample:
                queries = sorted(self.rows[probe].keys() & self.rows[noisy].keys())
                x, y = (np.array([self.rows[p][q][0] for q in queries]) for p in (probe, noisy))
                cosine = float(x @ y / np.sqrt((x @ x) * (y @ y)))
                weakest, strongest = min(found_levels[noise]), max(found_levels[noise])
                place = (level - weakest) / max(strongest - weakest, 1e-9)
                by_family[noise].append((place, cosine, self.rows[noisy][sample][0] / own))
        for noise, found in by_family.items():
            levels, cosines, qualities = (np.array(column) for column in zip(*sorted(found), strict=True))
            nats = qualities.mean() * own
            out["noise_quality", f"{noise}, nats"][probe] = nats
            flipped = noise == "label_flip"
            out["noise_quality", noise][probe] = (own - nats) / (abs(own) + abs(nats)) if flipped else qualities.mean()
            if noise != "label_flip":
                out["noise_invariance", noise][probe] = cosines.mean()
                out["noise_invariance", f"{noise} slope"][probe] = stats.linregress(levels, cosines).slope
                out["noise_quality", f"{noise} slope"][probe] = stats.linregress(levels, qualities).slope

    def phi(self) -> float:
        above = below = 0.0
        for first, i in self.probe_of.items():
            for second, j in self.probe_of.items():
                if first < second and second in self.rows[i] and first in self.rows[j]:
                    forth, back = self.rows[i][second][0], self.rows[j][first][0]
                    above += (forth - back) ** 2
                    below += 2 * (forth**2 + back**2)
        return above / below


MEDIANS = {"score", "nats"}


@pytest.mark.parametrize("kind", ["realistic", "null"])
def test_values_agree_with_an_independent_computation(kind: Any) -> None:
    connection = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
    synthetic(connection, probes=60, queries=120, kind=kind, seeds=2, arms=2, seed=3)
    card = [row for row in score(connection, draws=20).to_pylist() if row["domain"] == "all"]
    arms = connection.execute("select distinct base, estimator, recipe from influence").fetchall()
    compared = 0
    for base, estimator, recipe in arms:
        seeds = (0, 1) if estimator == "finetune" else (0,)
        references = [Reference(connection, estimator, recipe, seed) for seed in seeds]
        expected = [reference.expected() for reference in references]
        rows = {(r["desideratum"], r["variant"]): r for r in card
                if (r["base"], r["estimator"], r["recipe"]) == (base, estimator, recipe)}  # fmt: skip
        for key in {key for each in expected for key in each}:
            by_probe = [[each[key][probe] for each in expected if probe in each[key]]
                        for probe in {probe for each in expected for probe in each[key]}]  # fmt: skip
            per_probe = np.array([np.nanmean(seen) for seen in by_probe if np.isfinite(seen).any()])
            contrast = key == ("noise_quality", "label_flip")
            summary = np.median if key[1] in MEDIANS or key[0] == "noise_quality" and not contrast else np.mean
            row = rows[key]
            if row["value"] is not None:
                assert row["n"] == len(per_probe), key
                assert row["value"] == pytest.approx(summary(per_probe), abs=1e-9), key
                compared += 1
        if len(references) == 1:
            assert rows["asymmetry", "phi"]["value"] == pytest.approx(references[0].phi(), abs=1e-9)
    assert compared > 30
