"""An objective of somebody else's, in 40 lines, is measured from its samples file to SQL like those of the library."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import einfluence
from einfluence.curate.files import Rows
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives import OBJECTIVES, Batch

WORDS, TOPICS, LR = ["fins", "wings", "gold", "king"], ["animal", "court"], 0.5
DOCUMENTS = {"a": ("fins wings fins", "animal"), "b": ("gold king", "court"), "c": ("wings king", "court")}
ARMS = [{"recipe": {"adapter": {"kind": kind}, "optimizer": "sgd", "lr": LR, "steps": 1}} for kind in ("full", "last")]


class Document(NamedTuple):
    counts: tuple[float, ...]
    label: int
    n_target: int = 1
    size: int = 1


class Topic:
    """Topics of documents, by a linear model over counts of words."""

    name, modality, can = "topic", "text", frozenset[str]()

    @classmethod
    def claims(cls, config):
        return config.get("kind") == "bag of words"

    @classmethod
    def reads(cls, config):
        return ()

    @classmethod
    def check(cls, folder, config): ...

    @classmethod
    def load(cls, info, *, trust_remote_code, device):
        model = torch.nn.Sequential(torch.nn.Linear(len(WORDS), len(TOPICS)))
        model.load_state_dict(load_file(f"{info.folder}/model.safetensors"))
        return Base(info, model.to(device).eval().requires_grad_(False), cls())

    def encode(self, sample, where):
        if sample.target not in TOPICS:
            raise InputError(f"{where} topic", repr(sample.target), f"one of {', '.join(TOPICS)}")
        count = Counter(sample.inputs["text"].split())
        return Document(tuple(float(count[word]) for word in WORDS), TOPICS.index(sample.target))

    def collate(self, items):
        targets = torch.tensor([[item.label] for item in items])
        counts = torch.tensor([item.counts for item in items])
        return Batch({"counts": counts}, torch.zeros_like(targets), targets, torch.ones_like(targets).bool())

    def logits(self, call, batch):
        return call(batch.inputs["counts"])[:, None]

    def head(self, model):
        return model[0]

    def curation(self):
        read = lambda where, row: {"inputs": {"text": row["text"]}, "target": row["topic"]}  # noqa: E731
        return {"rows": Rows(self.name, ("text", "topic"), read)}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(OBJECTIVES, "topic", Topic)
    (tmp_path / "base").mkdir()
    weight = torch.tensor([[0.3, -0.2, 0.1, 0.4], [-0.1, 0.5, 0.2, -0.3]])
    save_file({"0.weight": weight, "0.bias": torch.tensor([0.1, -0.1])}, tmp_path / "base" / "model.safetensors")
    (tmp_path / "base" / "config.json").write_text(json.dumps({"kind": "bag of words"}))
    write(tmp_path, DOCUMENTS)
    (tmp_path / "spec.yaml").write_text(json.dumps({"base": "base", "samples": "documents.jsonl", "arms": ARMS}))
    return tmp_path / "spec.yaml"


def write(folder: Path, documents: dict[str, tuple[str, str]]) -> None:
    rows = [{"id": name, "text": text, "topic": topic} for name, (text, topic) in documents.items()]
    (folder / "documents.jsonl").write_text("\n".join(map(json.dumps, rows)))


def logprobs(weight: np.ndarray, bias: np.ndarray, text: str) -> np.ndarray:
    logits = weight @ counts(text) + bias
    return logits - np.log(np.exp(logits).sum())


def counts(text: str) -> np.ndarray:
    return np.array([text.split().count(word) for word in WORDS], float)


def by_hand(probe: str, query: str) -> float:
    """One step of gradient descent on a linear softmax, from its closed form."""
    weight, bias = np.array([[0.3, -0.2, 0.1, 0.4], [-0.1, 0.5, 0.2, -0.3]]), np.array([0.1, -0.1])
    (text, topic), (other, asked) = DOCUMENTS[probe], DOCUMENTS[query]
    error = np.eye(2)[TOPICS.index(topic)] - np.exp(logprobs(weight, bias, text))
    after = logprobs(weight + LR * np.outer(error, counts(text)), bias + LR * error, other)
    return float((after - logprobs(weight, bias, other))[TOPICS.index(asked)])


def test_an_objective_from_outside_is_measured_as_its_closed_form_says(spec: Path) -> None:
    store = einfluence.Store(spec.parent / "store")
    result = einfluence.measure(spec, store)
    assert (result.computed, result.failed) == (len(ARMS) * 9, 0)
    cells = """
        select probes.name, queries.name, influence.influence from influence
        join probes using (probe_id) join samples queries on queries.sample_id = influence.query_id
    """
    with store.connect() as connection:
        found = connection.sql(cells).fetchall()
        told = connection.sql("select objective, modality, prompt, target, inputs from samples where name = 'b'")
        assert told.fetchall() == [("topic", "text", "gold king", "court", '{"text": "gold king"}')]
        assert connection.sql("select distinct modality from bases").fetchall() == [("text",)]
    assert len(found) == len(ARMS) * 9
    for probe, query, influence in found:
        assert influence == pytest.approx(by_hand(probe, query), abs=1e-6), (probe, query)
    assert einfluence.measure(spec, store).computed == 0


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ({"a": ("fins", "boat")}, "documents.jsonl:1 .sample a. topic: found 'boat'; expected one of animal, court"),
        ({"a": ("fins", 3)}, "documents.jsonl:1 .sample a. topic: found 3"),
    ],
)
def test_what_it_refuses_is_told_with_its_place(spec: Path, documents: dict[str, tuple[str, str]], says: str) -> None:
    write(spec.parent, documents)
    with pytest.raises(InputError, match=says):
        einfluence.measure(spec, spec.parent / "store", report=False)


def test_a_file_of_another_objective_is_told(spec: Path) -> None:
    (spec.parent / "documents.jsonl").write_text('{"id": "a", "prompt": "dax is", "target": "red"}')
    with pytest.raises(InputError, match="no `text` and `topic`"):
        einfluence.measure(spec, spec.parent / "store", report=False)
    (spec.parent / "spec.yaml").write_text(json.dumps({"base": "base", "images": "digits", "arms": ARMS}))
    with pytest.raises(InputError, match="found image data; expected data for topic, which base takes"):
        einfluence.measure(spec, spec.parent / "store", report=False)
