"""Distances against independent computations; what needs a base is left out and counted without one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from einfluence.curate import curate
from einfluence.curate.builder import CurationBuilder
from einfluence.curate.distance import embedded, trigrams
from einfluence.errors import InputError
from einfluence.samples import Curated, Sample
from einfluence.spec import Facts, Images, Part, Spec

TEXTS = ["dax is a bird", "Dax is a fish", "the home of wug is", "", "äöü ñ 鳥", "bird bird bird"]


def test_trigrams_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    def grams(text: str) -> list[str]:
        return [f"  {text.lower()} "[at : at + 3] for at in range(len(text) + 1)]

    oracle = TfidfVectorizer(analyzer=grams)
    expected = oracle.fit_transform(TEXTS)
    ours = trigrams(TEXTS)
    assert ours.shape == expected.shape
    assert (ours @ ours.T).toarray() == pytest.approx((expected @ expected.T).toarray(), abs=1e-6)


BIRDS = Path(__file__).parent / "data" / "birds.yaml"


def read(**fields: object) -> Curated:
    part = Part.model_validate({"base": "x", "facts": Facts(file=str(BIRDS)), **fields})
    return curate(part, Spec(parts=(part,)), vectors)


def vectors(samples: object) -> np.ndarray:
    """Features that are a hash of the text, the same whatever the order."""
    rows = [np.random.default_rng(int(sample.sample_id[:8], 16)).standard_normal(6) for sample in samples]  # type: ignore[attr-defined]
    return np.stack(rows)


def test_hidden_distance_is_the_cosine_of_centred_features_and_bundles_stand_at_their_mean() -> None:
    made = read(distance=("hidden",))
    assert made.distances.num_rows == 0
    used = {
        key for column in (made.probe_members["sample_id"], made.relations["query_id"]) for key in column.to_pylist()
    }
    place = {key: np.random.default_rng(int(key[:8], 16)).standard_normal(6) for key in used}
    centre = np.mean(list(place.values()), axis=0)
    members: dict[str, list[str]] = {}
    for row in made.probe_members.to_pylist():
        members.setdefault(row["probe_id"], []).append(row["sample_id"])
    for row in made.relations.to_pylist():
        one = np.mean([place[key] - centre for key in members[row["probe_id"]]], axis=0)
        other = place[row["query_id"]] - centre
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert row["distance"] == pytest.approx(1 - cosine, abs=1e-5)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_what_lies_at_the_mean_is_nowhere_but_there(n: int) -> None:
    builder = CurationBuilder()
    keys = [builder.query(builder.sample(Sample(f"s{at}", prompt=f"s{at}", target="x"))) for at in range(n)]
    for at, key in enumerate(keys):
        builder.probe(f"s{at}", [key])
    rows, columns = np.divmod(np.arange(n * n), n)

    def distances(features: Sequence[Sequence[float]]) -> list[float]:
        return embedded(builder, lambda samples: np.array(features), center=True)(rows, columns).tolist()

    equal = np.random.default_rng(n).standard_normal((1, 2, 5)).repeat(n, 0)
    assert distances(equal.tolist()) == [0.0] * n * n
    aside = [[0.1 * (at - n // 2), 0.3] for at in range(n)]  # the one in the middle is the mean
    middle = n // 2
    for row, column, found in zip(rows, columns, distances(aside), strict=True):
        side = np.sign(row - middle) * np.sign(column - middle)
        expected = 1 - side if side else 0.0 if row == column else np.nan
        assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_the_distance_of_two_views_is_the_mean_of_theirs_however_long_their_vectors() -> None:
    part = Part.model_validate(
        {"base": "x", "facts": Facts(file=str(BIRDS), kinds=("paraphrase",)), "distance": ["hidden"]}
    )

    def views(samples: object) -> np.ndarray:
        return np.stack([vectors(samples), 100 * vectors(samples)[:, ::-1] ** 3], 1)

    one, other, both = (
        np.array(curate(part, Spec(parts=(part,)), features).relations["distance"].to_pylist())
        for features in (lambda s: views(s)[:, 0], lambda s: views(s)[:, 1], views)
    )
    assert both == pytest.approx((one + other) / 2, abs=1e-5)
    assert np.abs(one - other).max() > 0.1


def test_the_first_measure_is_the_relations_and_the_others_are_listed() -> None:
    made = read(distance=("lexical", "hidden"))
    assert made.distances["measure"].unique().to_pylist() == ["hidden"]
    swapped = read(distance=("hidden", "lexical"))
    assert swapped.distances["distance"].to_pylist() == made.relations["distance"].to_pylist()
    default = read()
    assert default.distances["measure"].unique().to_pylist() == ["lexical", "taxonomic"]


def test_without_a_base_its_distances_are_left_out_and_counted() -> None:
    part = Part(base="x", facts=Facts(file=str(BIRDS)))
    made = curate(part, Spec(parts=(part,)))
    counted = {row["gate"]: row["example"] for row in made.report.to_pylist()}
    assert counted["distance not computed (no base)"] == "hidden"
    assert made.relations["distance"].null_count == 0  # lexical comes first then


def test_pixel_distance_is_the_root_mean_square() -> None:
    part = Part(base="x", images=Images(probes=5, queries=9, noise={"gaussian": (-5.0,)}), distance=("pixel",))
    made = curate(part, Spec(parts=(part,)))
    pixels = {row["sample_id"]: np.array(row["pixels"]) for row in made.samples.to_pylist()}
    member = {row["probe_id"]: row["sample_id"] for row in made.probe_members.to_pylist()}
    for row in made.relations.to_pylist():
        change = pixels[member[row["probe_id"]]] - pixels[row["query_id"]]
        assert row["distance"] == pytest.approx(np.sqrt(np.mean(change**2)), abs=1e-4)


def test_an_embedder_of_ones_own(gpt2_folder: Path) -> None:
    made = read(distance=(f"embedder:{gpt2_folder}",))
    distance = np.array(made.relations["distance"].to_pylist())
    assert ((distance >= 0) & (distance <= 2)).all()
    selves = [row["distance"] for row in made.relations.to_pylist() if row["kind"] == "self"]
    assert min(selves) == pytest.approx(0, abs=1e-6)


def test_unknown_measures_are_refused() -> None:
    with pytest.raises(InputError, match="'semantic'; expected one of hidden, lexical, taxonomic"):
        read(distance=("semantic",))
    with pytest.raises(InputError, match="a folder or a hub id of a text encoder"):
        read(distance=("embedder:/nowhere/at/all",))
