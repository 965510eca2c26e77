"""Mentions in columns: whatever the tagging scheme, the order of columns and what stands between, they are the same."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from einfluence.curate.sources.conll import BROKEN, SCHEME, spans
from einfluence.errors import InputError

from .sources import gates, probes, read

Mention = tuple[int, int, str]


def tagged(length: int, mentions: list[Mention], scheme: str) -> list[str]:
    """Tags of a sentence, written from its mentions."""
    begin, inside, end, single = {"BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES"}.get(scheme, "BIIB")
    tags = ["O"] * length
    for start, stop, kind in mentions:
        places = [begin, *[inside] * (stop - start - 2), end] if stop - start > 1 else [single]
        if scheme == "IOB1" and not (start and tags[start - 1][2:] == kind):
            places[0] = "I"
        tags[start:stop] = [f"{place}-{kind}" for place in places]
    return tags


@st.composite
def sentences(draw: st.DrawFn) -> tuple[int, list[Mention]]:
    found: list[Mention] = []
    place = 0
    for gap, size, kind in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from("PQ")))):
        found.append((place + gap, place + gap + size, kind))
        place += gap + size
    return place + draw(st.integers(0, 2)), found


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a machine with other work
@given(sentences(), st.sampled_from(["IOB1", "IOB2", "BIOES", "BILOU", "BMES"]))
def test_every_scheme_gives_the_mentions_it_was_written_from(made: tuple[int, list[Mention]], scheme: str) -> None:
    length, mentions = made
    assert list(spans(tagged(length, mentions, scheme), scheme)) == [(*mention, True) for mention in mentions]


WORDS = "Ann Alder met Bo of Fir and Gorse Works .".split()
MENTIONS: list[Mention] = [(0, 2, "person"), (3, 4, "person"), (5, 9, "org-firm")]
EXPECTED = [("Ann Alder is a", "person"), ("Bo is a", "person"), ("Fir and Gorse Works is a", "org-firm")]
LINES = [f"{word}\t{tag}" for word, tag in zip(WORDS, tagged(len(WORDS), MENTIONS, "IOB2"), strict=True)]


def found(path: Path) -> list[tuple[str, str]]:
    return [(prompt.partition("In this sentence, ")[2], target) for prompt, target in probes(read("conll", path))]


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES", "BILOU", "BMES"])
def test_files_of_every_scheme_say_the_same_and_which_it_was(scheme: str, tmp_path: Path) -> None:
    tags = tagged(len(WORDS), MENTIONS, scheme)
    path = tmp_path / "a.conll"
    path.write_text("".join(f"{word} {tag}\n" for word, tag in zip(WORDS, tags, strict=True)))
    assert found(path) == EXPECTED
    report = {row["gate"]: row["example"] for row in read("conll", path).report.to_pylist()}
    assert report[SCHEME].endswith(scheme)


def words_and(change: str) -> str:
    rows = [line.split("\t") for line in LINES]
    return {
        "tab at the end": "".join(f"{word}\t{tag}\t\n" for word, tag in rows),
        "windows": "\r\n".join(LINES) + "\r\n\r\n",
        "tag first": "".join(f"{tag}\t{word}\n" for word, tag in rows),
        "comments": "# sent_id = 1\n# text = Ann met O\n" + "\n".join(LINES),
        "a hash as token": "\n".join(LINES).replace("met\t", "#\t"),
        "documents": "-DOCSTART- -X- -X- O\n\n" + "".join(f"{word} NN B-NP {tag}\n" for word, tag in rows),
        "phrases last": "".join(f"{word} {tag} NN I-NP\n" for word, tag in rows),
        "numbered": "# id 7\n" + "".join(f"{n}\t{word}\t{tag}\t_\n" for n, (word, tag) in enumerate(rows, 1)),
        "a word of two tokens": "1-2\tAnnAlder\t_\n" + "".join(f"{n}\t{w}\t{t}\n" for n, (w, t) in enumerate(rows, 1)),
        "underscores": "\n".join(LINES).replace("B-", "B_").replace("I-", "I_"),
        "mark at the start": "\ufeff" + "\n".join(LINES),
    }[change]


LAYOUTS = [
    *("tab at the end", "windows", "tag first", "comments", "a hash as token", "documents", "phrases last", "numbered"),
    *("a word of two tokens", "underscores", "mark at the start"),
]


@pytest.mark.parametrize("change", LAYOUTS)
def test_layouts_that_people_publish(change: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(words_and(change).encode())
    assert found(path) == EXPECTED


def test_rows_of_tokens_and_tags_with_named_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-person", "I-person", "B-org-firm", "I-org-firm"]
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=names)),
        }
    )
    tags = [names.index(line.split("\t")[1]) for line in LINES]
    table = datasets.Dataset.from_dict({"tokens": [WORDS], "ner_tags": [tags]}, features=features)
    table.save_to_disk(tmp_path / "saved")
    table.to_parquet(tmp_path / "rows.parquet")
    assert found(tmp_path / "saved") == found(tmp_path / "rows.parquet") == EXPECTED
    (tmp_path / "rows.jsonl").write_text('{"tokens": ["Ann"], "ner_tags": [1]}\n')
    with pytest.raises(InputError, match="ner_tags: found 1; expected text"):
        read("conll", tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["Ann\tB", "met\tO"], "a.conll:1: found the tag 'B'"),
        (["Ann\tPER", "met\tO"], "a.conll:1: found the tag 'PER'"),
        (["Ann\tB-PER", "met"], "a.conll:2: found 'met'; expected a token and a tag"),
        (["Ann NN B-PER", "met O"], "a.conll:2: found the tag"),
        (["Ann\tO", "met\tO"], "no tagged mention"),
        (["version https://git-lfs.github.com/spec/v1"], "a Git LFS pointer"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(lines: list[str], fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("\n".join(lines))
    with pytest.raises(InputError, match=fault):
        read("conll", tmp_path / "a.conll")


def test_rows_without_a_token_and_tags_that_break_their_scheme_are_counted(tmp_path: Path) -> None:
    lines = ["Ann\tB-PER", "Alder\tE-PER", "\tO", "Bo\tI-PER", "met\tO"]
    (tmp_path / "a.conll").write_text("\n".join(lines))
    made = read("conll", tmp_path / "a.conll")
    assert gates(made)[BROKEN] == 1 and gates(made)["item without what a probe needs"] == 1
    assert len(probes(made)) == 2
