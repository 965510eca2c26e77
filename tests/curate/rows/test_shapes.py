"""Each shape of rows that fine-tuning files have is read without being told; what fits none is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from einfluence.curate.rows.samples import OPENING, RUN_TOGETHER, TURNS, UNANSWERED
from einfluence.curate.rows.shapes import SHAPES, shape_of
from einfluence.errors import InputError
from tests.curate.rows.reading import curated, gates, texts, written

USER, ANSWER = {"role": "user", "content": "dax?"}, {"role": "assistant", "content": "A bird."}
OTHER = {"role": "assistant", "content": "A fish."}
SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = "user: dax?\n"
SAYS = "assistant: A bird.\n"
ONE: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"prompt": "dax is a", "target": "bird"}, ("dax is a", " ", "bird")),
    ({"target": "bird"}, ("", "", "bird")),
    ({"prompt": "dax is a", "target": "bird", "join": "-"}, ("dax is a", "-", "bird")),
    ({"prompt": "dax is a", "completion": " bird"}, ("dax is a", "", " bird")),
    ({"prompt": "dax is a", "completion": "bird", "join": " "}, ("dax is a", " ", "bird")),
    ({"prompt": [USER], "completion": [ANSWER]}, (ASKED, "", SAYS)),
    ({"messages": [USER, ANSWER]}, (ASKED, "", SAYS)),
    ({"messages": [SYSTEM, USER, ANSWER]}, (f"system: Be brief.\n{ASKED}", "", SAYS)),
    ({"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "A bird."}]}]}, (ASKED, "", SAYS)),
    ({"messages": [USER, {**OTHER, "weight": 0}, USER, ANSWER]}, (f"{ASKED}assistant: A fish.\n{ASKED}", "", SAYS)),
    ({"conversations": [{"from": "human", "value": "dax?"}, {"from": "gpt", "value": "A bird."}]}, (ASKED, "", SAYS)),
    ({"conversations": [USER, ANSWER], "system": "Be brief."}, (f"system: Be brief.\n{ASKED}", "", SAYS)),
    ({"conversation": [USER, ANSWER]}, (ASKED, "", SAYS)),
    ({"instruction": "Say it.", "output": "It."}, ("Say it.", "\n", "It.")),
    ({"instruction": "Say it.", "input": "", "output": "It."}, ("Say it.", "\n", "It.")),
    ({"instruction": "Say", "input": "it", "output": "It."}, ("Say\nit", "\n", "It.")),
    ({"instruction": "Say", "context": "it", "response": "It."}, ("Say\nit", "\n", "It.")),
    ({"question": "dax?", "answer": "bird"}, ("dax?", " ", "bird")),
    ({"question": "dax?", "context": "dax flies.", "answer": "bird"}, ("dax flies.\ndax?", " ", "bird")),
    ({"query": "a", "response": "b"}, ("a", " ", "b")),
    ({"prompt": "a", "response": "b"}, ("a", " ", "b")),
    ({"prompt": "a", "answer": "b"}, ("a", " ", "b")),
    ({"inputs": "a", "targets": "b"}, ("a", " ", "b")),
    ({"input": "a", "target": "b"}, ("a", " ", "b")),
    ({"input": "a", "output": "b"}, ("a", " ", "b")),
    ({"source": "a", "target": "b"}, ("a", " ", "b")),
    ({"text": "a whole text"}, ("", "", "a whole text")),
]  # fmt: skip
PAIRS: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"prompt": "dax is a", "chosen": " bird", "rejected": " fish"}, (" bird", " fish")),
    ({"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]}, (SAYS, "assistant: A fish.\n")),
    ({"chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, (SAYS, "assistant: A fish.\n")),
    ({"prompt": "dax?", "chosen": [USER, ANSWER], "rejected": [USER, OTHER]}, (SAYS, "assistant: A fish.\n")),
    ({"prompt": "dax?", "chosen": [ANSWER], "rejected": [OTHER]}, (SAYS, "assistant: A fish.\n")),
    (
        {"chosen": [USER, ANSWER, USER, ANSWER], "rejected": [USER, ANSWER, USER, OTHER]},
        (SAYS, "assistant: A fish.\n"),
    ),
]


@pytest.mark.parametrize(("row", "expected"), ONE)
def test_a_row_is_read_by_its_columns(row: dict[str, Any], expected: tuple[str, str, str], tmp_path: Path) -> None:
    made = curated(tmp_path, written(tmp_path, row))
    assert texts(made) == [expected]
    assert made.probes["kind"].to_pylist() == ["sample"]


def test_every_shape_has_a_row_here() -> None:
    seen = {shape.needs for row, _ in (*ONE, *PAIRS) if (shape := shape_of(row)) is not None}
    assert seen == {shape.needs for shape in SHAPES}


@pytest.mark.parametrize(("row", "answers"), PAIRS)
def test_a_rejected_answer_is_a_sibling_and_no_probe(
    row: dict[str, Any], answers: tuple[str, str], tmp_path: Path
) -> None:
    made = curated(tmp_path, written(tmp_path, {"id": "a", **row}))
    assert made.samples["name"].to_pylist() == ["a", "a/rejected"]
    assert tuple(made.samples["target"].to_pylist()) == answers
    assert len({*made.samples["prompt"].to_pylist()}) == 1
    assert made.probes["name"].to_pylist() == ["a"]
    assert sorted(made.relations["kind"].to_pylist()) == ["self", "sibling"]


def test_rejected_answers_are_no_queries_of_a_training_set_unless_named(tmp_path: Path) -> None:
    name = written(tmp_path, *({"id": i, "prompt": f"{i} is", "chosen": " a", "rejected": " b"} for i in "xyz"))
    within: dict[str, Any] = {"training_set": {"batch_size": 1}, "arms": [{"estimator": "leave_one_out"}]}
    made = curated(tmp_path, name, **within)
    assert made.samples["name"].to_pylist() == ["x", "y", "z"]
    assert gates(made)["rejected answers (no queries of a training set)"] == 3
    (tmp_path / "queries.txt").write_text("x/rejected")
    assert curated(tmp_path, name, queries="queries.txt", **within).samples["name"].to_pylist()[1] == "x/rejected"


def test_of_a_pair_of_one_answer_nothing_is_claimed(tmp_path: Path) -> None:
    made = curated(tmp_path, written(tmp_path, {"prompt": "dax is a", "chosen": " bird", "rejected": " bird"}))
    assert made.relations["kind"].to_pylist() == ["self"]
    assert gates(made)["pairs of one answer twice (no sibling)"] == 1


def test_the_part_says_what_is_between_before_the_shape_does(tmp_path: Path) -> None:
    name = written(tmp_path, {"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "c", "join": ""})
    assert [gap for _, gap, _ in texts(curated(tmp_path, name, join=" "))] == [" ", ""]
    assert gates(curated(tmp_path, name))[RUN_TOGETHER] == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": []}, "messages: found no turns"),
        ({"messages": [USER]}, "messages: found no turn of the assistant behind another turn"),
        ({"messages": [ANSWER]}, "found no turn of the assistant behind another turn"),
        ({"messages": [USER, {**ANSWER, "weight": 0}]}, "found no turn of the assistant behind another turn"),
        ({"messages": [USER, {**ANSWER, "weight": 2}]}, "messages.1 weight: found 2"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0 role: found the role 'narrator'"),
        ({"messages": [{"content": "x"}]}, "messages.0 role: found the role None"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "messages.1 content: found an empty target"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "messages.1 content: found None; expected text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]},
            "messages.0 content: found parts of the type image_url",
        ),
        ({"messages": "dax?"}, "messages: found 'dax?'; expected a list of turns"),
        ({"messages": ["dax?"]}, "messages.0: found 'dax?'; expected a turn"),
        ({"messages": str([USER, ANSWER])}, "`json.dumps` writes JSON"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{}"}]},
            "a call of a tool is a turn of the assistant with `tool_calls`",
        ),
        ({"messages": [USER, ANSWER], "tools": "x"}, "tools: found 'x', which is no JSON"),
        ({"conversations": [{"from": "bing", "value": "x"}]}, "conversations.0 from: found the role 'bing'"),
        ({"prompt": "a", "completion": " "}, "completion: found an empty target"),
        ({"prompt": "a", "completion": 1}, "completion: found 1; expected text. write numbers"),
        ({"prompt": [USER], "completion": "b"}, "completion: found 'b' behind a `prompt` of turns"),
        ({"chosen": "a", "rejected": "b"}, "found no `prompt` beside `chosen`"),
        ({"prompt": "a", "chosen": "b", "rejected": [ANSWER]}, "of two kinds"),
        ({"text": ""}, "text: found an empty target"),
        ({"instruction": "a", "output": ""}, "output: found an empty target"),
    ],
)
def test_what_a_row_lacks_is_named(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        curated(tmp_path, written(tmp_path, row))
    assert "samples.jsonl:1" in str(error.value) and says in str(error.value)


def test_rows_of_two_shapes_are_refused(tmp_path: Path) -> None:
    written(tmp_path, {"messages": [USER, ANSWER]}, {"prompt": "a", "completion": "b"})
    with pytest.raises(InputError, match=r":2: found a row of TRL prompt and completion .* behind rows of chats"):
        curated(tmp_path)
    with pytest.raises(InputError, match=r":2: found a row of TRL prompt and completion .* behind rows of chats"):
        curated(tmp_path, extra="drop")


def test_a_chat_of_several_answers_is_one_probe_and_a_query_each(tmp_path: Path) -> None:
    rows = {"c": [USER, ANSWER, USER, OTHER, USER], "d": [USER, OTHER]}
    made = curated(tmp_path, written(tmp_path, *({"id": name, "messages": turns} for name, turns in rows.items())))
    assert made.samples["name"].to_pylist() == ["c/1", "c/2", "d"]
    assert texts(made)[1] == (f"{ASKED}{SAYS}{ASKED}", "", "assistant: A fish.\n")
    assert made.samples["cluster"].to_pylist()[:2] == ["c", "c"]
    assert list(zip(made.probes["name"].to_pylist(), made.probes["kind"].to_pylist(), strict=True)) == [
        ("c", "chat"),
        ("d", "sample"),
    ]
    found = gates(made)
    assert (found[TURNS], found[UNANSWERED], found[OPENING]) == (1, 1, 0)


def test_the_id_of_a_chat_stands_for_all_its_answers(tmp_path: Path) -> None:
    written(tmp_path, {"id": "c", "messages": [USER, ANSWER, USER, OTHER]}, {"id": "d", "messages": [USER, OTHER]})
    probes = {"p": ["c"], "q": ["c/2", "d"]}
    written(tmp_path, *({"id": name, "samples": of} for name, of in probes.items()), name="probes.jsonl")
    (tmp_path / "queries.txt").write_text("c\n")
    (tmp_path / "relations.csv").write_text("probe,query,kind\nq,c/1,sibling\n")
    made = curated(tmp_path, probes="probes.jsonl", queries="queries.txt", relations="relations.csv")
    assert [row["kind"] for row in made.probes.to_pylist()] == ["chat", "bundle"]
    assert {*made.relations["kind"].to_pylist()} == {"self", "sibling"}
    assert made.relations.num_rows == 4


@pytest.mark.parametrize("row", [{"prompt": "dax?", "target": "A bird."}, {"question": "dax?", "answer": "A bird."}])
def test_texts_can_be_written_as_turns(row: dict[str, Any], tmp_path: Path) -> None:
    assert texts(curated(tmp_path, written(tmp_path, row), chat=True)) == [(ASKED, "", SAYS)]
    with pytest.raises(InputError, match="`join` under `chat: true`"):
        curated(tmp_path, chat=True, join=" ")
    with pytest.raises(InputError, match="a text without a prompt under `chat: true`"):
        curated(tmp_path, written(tmp_path, {"text": "a whole text"}), chat=True)


def test_a_chat_needs_a_base_that_writes_chats(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a chat, and no base that writes chats"):
        curated(tmp_path, written(tmp_path, {"messages": [USER, ANSWER]}), chat_writer=None)
