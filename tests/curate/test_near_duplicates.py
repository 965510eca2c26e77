"""Texts that are nearly the same: all pairs of them and no others, and what is made of them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einfluence.curate import alike as module
from einfluence.curate import curate, near
from einfluence.curate.alike import alike
from einfluence.curate.files import HELD_OUT, Rows
from einfluence.errors import InputError
from einfluence.samples import Curated
from einfluence.spec import LeaveOneOut, Part, Spec, TrainingSet

NOT_SAME = "the food was not good at all and we waited an hour for it"
ROWS = [
    {"id": "a", "text": "The food was good and the waiters were very friendly.", "label": "pos"},
    {"id": "b", "text": "the food was good, and the waiters were very friendly!", "label": "pos"},
    {"id": "c", "text": "The food was good and the waiters were very friendly", "label": "neg"},
    {"id": "d", "text": "The food was good and the waiter were very friendly.", "label": "neg"},
    {"id": "e", "text": NOT_SAME, "label": "neg", "cluster": "hour"},
]


def brute_force(texts: list[str], threshold: float) -> list[tuple[int, int, float]]:
    sets = [{text[at : at + 5] for at in range(max(1, len(text) - 4))} for text in texts]
    pairs = (
        (i, j, len(sets[i] & sets[j]) / len(sets[i] | sets[j])) for i in range(len(sets)) for j in range(len(sets))
    )
    return [pair for pair in pairs if pair[0] < pair[1] and pair[2] >= threshold]


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("few", [5, 1_000_000])
def test_all_pairs_are_found_and_no_others(threshold: float, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", few * 10)
    drawn = random.Random(threshold)
    words = ["".join(drawn.choices("abcé\u732b\U0001f600\ud83d", k=drawn.randint(1, 4))) for _ in range(8)]
    texts = [" ".join(drawn.choices(words, k=drawn.randint(0, 9))) for _ in range(80)]
    found = alike(texts, threshold)
    assert list(zip(found.left, found.right, found.similarity, strict=True)) == brute_force(texts, threshold)
    assert len(found.left) > 10


def test_texts_of_many_different_characters_are_compared_as_exactly() -> None:
    drawn = np.random.default_rng(0)
    signs = [chr(code) for code in range(0x4E00, 0x4E00 + 8_000)]
    texts = ["".join(drawn.choice(signs, 40)) for _ in range(200)]
    texts += [text[:20] + "x" + text[20:] for text in texts[:5]]
    found = alike(texts, 0.6)
    assert list(zip(found.left, found.right, found.similarity, strict=True)) == brute_force(texts, 0.6)
    assert found.right.tolist() == [200, 201, 202, 203, 204]


def classified(
    folder: Path, rows: list[dict[str, Any]], held_out: list[dict[str, Any]] | None = None, **more: Any
) -> Curated:
    def read(_where: str, fields: Any) -> dict[str, Any]:
        label = ("neg", "pos").index(fields["label"])
        texts = {name: fields[name] for name in ("text", "text_b") if name in fields}
        return {"inputs": texts, "target": fields["label"], "label": label, "domain": fields["label"]}

    return made(folder, rows, held_out, Rows("sequence_class", ("text", "label"), read, ("text_b",)), **more)


def tagged(folder: Path, rows: list[dict[str, Any]], **more: Any) -> Curated:
    def read(_where: str, fields: Any) -> dict[str, Any]:
        return {
            "inputs": {"tokens": fields["tokens"], "tags": fields["tags"]},
            "target": " ".join(filter(None, fields["tags"])),
        }

    return made(folder, rows, None, Rows("token_class", ("tokens", "tags"), read), **more)


def made(
    folder: Path, rows: list[dict[str, Any]], held_out: list[dict[str, Any]] | None, read: Rows | None, **more: Any
) -> Curated:
    def write(name: str, some: list[dict[str, Any]]) -> str:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
        return name

    if held_out is not None:
        more |= {"training_set": TrainingSet(held_out=write("held.jsonl", held_out)), "arms": (LeaveOneOut(),)}
    part = Part(base="x", samples=write("rows.jsonl", rows), distance=("lexical",), **more)
    return curate(part, Spec(parts=(part,), folder=folder), rows=read)


def gates(found: Curated) -> dict[str, tuple[int, str]]:
    return {row["gate"]: (row["count"], row["example"]) for row in found.report.to_pylist()}


def pairs(found: Curated) -> dict[tuple[str, str, str], float]:
    """Claims by names of probe and query, and kind."""
    names = dict(zip(found.samples["sample_id"].to_pylist(), found.samples["name"].to_pylist(), strict=True))
    probes = dict(zip(found.probes["probe_id"].to_pylist(), found.probes["name"].to_pylist(), strict=True))
    return {
        (probes[row["probe_id"]], names[row["query_id"]], row["kind"]): row["level"]
        for row in found.relations.to_pylist()
        if row["kind"] not in (None, "self", "noisy")
    }


def clusters(found: Curated) -> dict[str, str]:
    return dict(zip(found.samples["name"].to_pylist(), found.samples["cluster"].to_pylist(), strict=True))


def test_near_duplicates_are_counted_by_their_labels_claimed_and_one_cluster(tmp_path: Path) -> None:
    found = classified(tmp_path, ROWS)
    counts = gates(found)
    # a and c differ in spelling alone; b ends in another sign; d lacks an s, so five of its shingles are others.
    assert counts[near.SAME_TEXT][0] == 1 and counts[near.SAME_ANSWER][0] == 2 and counts[near.OTHER_ANSWER][0] == 3
    assert counts[near.SAME_TEXT][1].startswith(f"{tmp_path / 'rows.jsonl'}:1 a (pos) and ")
    assert near.ACROSS not in counts
    claims = pairs(found)
    assert {pair for pair, kind in ((key[:2], key[2]) for key in claims) if kind == "near_duplicate"} == {
        ("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"),
    }  # fmt: skip
    assert {pair for pair, kind in ((key[:2], key[2]) for key in claims) if kind == "contradiction"} == {
        (one, other) for both in (("a", "c"), ("a", "d"), ("b", "c"), ("b", "d")) for one, other in (both, both[::-1])
    }
    assert claims["a", "c", "contradiction"] == 1 and 0.8 <= claims["a", "b", "near_duplicate"] < 1
    own = clusters(found)
    assert own["a"] == own["b"] == own["c"] == own["d"] != own["e"] == "hour"


def test_what_is_held_out_and_nearly_what_is_trained_on_is_counted(tmp_path: Path) -> None:
    held_out = [{"id": "q", "text": NOT_SAME + " again", "label": "neg"}, {"id": "r", "text": "Fine.", "label": "pos"}]
    found = classified(tmp_path, ROWS[3:], held_out)
    assert gates(found)[near.ACROSS][0] == 1 and gates(found)[HELD_OUT][0] == 0
    assert pairs(found).keys() == {("e", "q", "near_duplicate")}
    assert clusters(found)["q"] == "hour"


def test_noisy_versions_are_near_duplicates_of_nothing_and_in_the_cluster_of_their_clean_ones(tmp_path: Path) -> None:
    found = classified(tmp_path, ROWS[:3], noise={"typos": (0.05,)})
    assert gates(found)[near.SAME_ANSWER][0] == 1 and len(pairs(found)) == 6
    assert len(set(clusters(found).values())) == 1 and found.samples.num_rows == 6


def test_a_flipped_label_contradicts_what_it_agreed_with(tmp_path: Path) -> None:
    flip = {"flip_labels": {"share": 0.3, "seed": 2}}  # one of three, which is not the last
    part = {"training_set": TrainingSet.model_validate(flip), "arms": (LeaveOneOut(),)}
    found = classified(tmp_path, [*ROWS[:2], ROWS[4]], **part)
    assert {kind for *_, kind in pairs(found)} == {"contradiction"} and gates(found)[near.OTHER_ANSWER][0] == 1


def test_the_two_texts_of_a_pair_are_compared_each(tmp_path: Path) -> None:
    one = {"id": "a", "text": "it rains in the city today", "text_b": "and it is cold there", "label": "pos"}
    other = {"id": "b", "text": "it rains in the city today and", "text_b": "it is cold there", "label": "pos"}
    assert gates(classified(tmp_path, [one, other], near_duplicates=1.0))[near.SAME_ANSWER][0] == 0
    assert gates(classified(tmp_path, [one, other], near_duplicates=0.6))[near.SAME_ANSWER][0] == 1


def test_sentences_with_the_same_mentions_are_near_duplicates_and_with_others_contradictions(tmp_path: Path) -> None:
    tokens = "ada of the old town went to the market in paris yesterday".split()
    tags = ["B-per", *["O"] * 9, "B-loc", "O"]
    longer, more = [*tokens, "."], [*tags, "O"]
    rows = [
        {"id": "a", "tokens": tokens, "tags": tags},
        {"id": "b", "tokens": longer, "tags": more},
        {"id": "c", "tokens": [*tokens, "!"], "tags": ["B-org", *more[1:]]},
    ]
    found = tagged(tmp_path, rows)
    assert {key for key in pairs(found) if key[0] == "a"} == {("a", "b", "near_duplicate"), ("a", "c", "contradiction")}


def test_a_mention_neither_repeats_its_sentence_nor_contradicts_another_mention(tmp_path: Path) -> None:
    tokens = "ada of the old town met bob".split()
    tags = {"whole": ["B-per", *["O"] * 5, "B-per"], "ada": ["B-per", *[None] * 6], "bob": [*[None] * 6, "B-per"]}
    rows = [{"id": name, "tokens": tokens, "tags": each} for name, each in tags.items()]
    rows.append({"id": "odd", "tokens": ["Ada", *tokens[1:]], "tags": ["B-loc", *[None] * 6]})
    found = tagged(tmp_path, rows)
    assert pairs(found).keys() == {("ada", "odd", "contradiction"), ("odd", "ada", "contradiction")}
    assert gates(found)[near.SAME_TEXT][0] == 1 and gates(found)[near.SAME_ANSWER][0] == 0
    assert len(set(clusters(found).values())) == 1


def test_what_the_user_claims_stands(tmp_path: Path) -> None:
    (tmp_path / "relations.csv").write_text("probe,query,kind\na,b,paraphrase\n", encoding="utf-8")
    claims = pairs(classified(tmp_path, ROWS[:2], relations="relations.csv"))
    assert claims.keys() == {("a", "b", "paraphrase"), ("b", "a", "near_duplicate")}


def test_zero_looks_for_none_and_the_same_text_under_two_labels_is_counted_all_the_same(tmp_path: Path) -> None:
    found = classified(tmp_path, ROWS, near_duplicates=0.0)
    assert gates(found)[near.SAME_TEXT][0] == 1 and near.SAME_ANSWER not in gates(found) and not pairs(found)


def test_texts_to_be_continued_are_compared_where_a_part_asks_for_it(tmp_path: Path) -> None:
    text = "the river of the capital of the north is"
    rows = [{"id": name, "prompt": text, "target": target} for name, target in (("a", "milna"), ("b", "milnas"))]
    assert near.SAME_ANSWER not in gates(made(tmp_path, rows, None, None))
    found = made(tmp_path, rows, None, None, near_duplicates=0.8)
    assert gates(found)[near.SAME_ANSWER][0] == 1 and near.OTHER_ANSWER not in gates(found)
    assert pairs(found).keys() == {("a", "b", "near_duplicate"), ("b", "a", "near_duplicate")}


def test_too_many_alike_are_named_instead_of_counted_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, words in (("MOST", "a rare piece"), ("MOST_ALIKE", "nearly the same"), ("SIGNS", "characters")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 2)
            counts = gates(classified(tmp_path, ROWS))
        assert counts[near.NOT_SOUGHT][0] == 1 and near.SAME_ANSWER not in counts
        assert words in counts[near.NOT_SOUGHT][1]


def test_a_similarity_for_what_is_no_text_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((1, 2, 2), np.float32))
    with pytest.raises(InputError, match="near_duplicates: found samples that are no texts"):
        made(tmp_path, [{"id": "a", "image": "a.npy", "label": 0}], None, None, near_duplicates=0.8)
    with pytest.raises(ValueError, match="`near_duplicates` beside `samples` or `source` only"):
        Part.model_validate({"base": "x", "facts": "world", "near_duplicates": 0.8})
    with pytest.raises(ValueError, match="less than or equal to 1"):
        Part.model_validate({"base": "x", "samples": "a.jsonl", "near_duplicates": 80})
