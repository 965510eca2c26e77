"""A head that no file holds is drawn only where the spec says so, from its seed, which names another base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import einfluence
from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.head import Head
from einfluence.models.base import Base
from tests.objectives import test_pretrained_images
from tests.objectives.tiny_texts import save_encoder

SENTIMENT = Head(objective="sequence_class", labels=("bad", "good", "fine"))


@pytest.fixture
def body(tmp_path: Path) -> Path:
    """A masked language model: the body of a classifier, without a pooler, with a head for another problem."""
    return save_encoder(tmp_path / "bert", "Bert", "MaskedLM")


def load(folder: Path, head: Head | None = None) -> Base:
    return load_base(find_base(str(folder), "test", head=head))


@pytest.mark.parametrize("task", ["sequence_class", "token_class"])
def test_a_body_gets_the_head_that_the_spec_asks_for(body: Path, task: Any) -> None:
    base = load(body, Head(objective=task, labels=("bad", "good")))
    head = base.objective.head(base.model)
    assert base.info.objective == task and head is not None
    assert [tuple(value.shape) for value in head.parameters()] == [(2, 16), (2,)]
    trained = load(body).model.get_submodule("bert.encoder").state_dict()
    assert all(
        value.equal(trained[name]) for name, value in base.model.get_submodule("bert.encoder").state_dict().items()
    )


def test_a_classifier_of_pictures_gets_new_classes(tmp_path: Path) -> None:
    folder = test_pretrained_images.save(tmp_path / "vit", "ViT")
    trained, fresh = load(folder), load(folder, Head(labels=("a", "b")))
    head = fresh.objective.head(fresh.model)
    assert head is not None and [tuple(value.shape) for value in head.parameters()] == [(2, 16), (2,)]
    assert fresh.objective.curation()["class_names"] == {"a": 0, "b": 1}
    body = trained.model.get_submodule("vit").state_dict()
    assert all(value.equal(body[name]) for name, value in fresh.model.get_submodule("vit").state_dict().items())


def test_a_head_is_its_seeds(body: Path) -> None:
    bases = [load(body, SENTIMENT), load(body, SENTIMENT), load(body, Head(**{**SENTIMENT.model_dump(), "seed": 1}))]
    one, same, other = (base.model.get_parameter("classifier.weight") for base in bases)
    assert one.equal(same) and not one.equal(other) and 0.005 < float(one.std()) < 0.05
    assert torch.equal(bases[0].model.get_parameter("classifier.bias"), torch.zeros(3))
    ids = [base.info.base_id for base in bases]
    assert ids[0] == ids[1] != ids[2] and find_base(str(body), "test").base_id not in ids
    other_labels = Head(objective="sequence_class", labels=("a", "b", "c"))
    assert find_base(str(body), "test", head=other_labels).base_id not in ids


def test_a_new_head_takes_the_place_of_a_trained_one(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "bert", "Bert", "SequenceClassification", ["x", "y"])
    trained, fresh = load(folder), load(folder, Head())
    before, after = (base.model.get_parameter("classifier.weight") for base in (trained, fresh))
    assert before.shape == after.shape and not before.equal(after)


def test_a_part_of_a_spec_asks_for_a_new_head(body: Path) -> None:
    (body.parent / "rows.jsonl").write_text(json.dumps({"text": "a film", "label": "good"}))
    arms = [{"recipe": {"adapter": "last", "optimizer": "sgd", "lr": 0.1, "steps": 1}}]
    head = {"kind": "new", "objective": "sequence_class", "labels": ["bad", "good"]}
    spec = {"base": "bert", "samples": "rows.jsonl", "head": head, "arms": arms, "distance": ["lexical"]}
    (body.parent / "spec.yaml").write_text(json.dumps(spec))
    assert einfluence.measure(body.parent / "spec.yaml", body.parent / "store", report=False).computed == 1


def test_without_being_asked_for_no_head_is_drawn_and_only_classifiers_have_one(body: Path) -> None:
    for head in (Head(), Head(labels=("a", "b"))):
        with pytest.raises(InputError, match="a new head for masked_lm; expected a classifier: sequence_class, token_"):
            load(body, head)


@pytest.mark.parametrize("labels", [["a"], ["a", "a"]])
def test_labels_of_a_head_are_two_or_more_and_differ(body: Path, labels: list[str]) -> None:
    spec = {"base": "bert", "samples": "rows.jsonl", "head": {"kind": "new", "labels": labels}}
    (body.parent / "spec.yaml").write_text(json.dumps(spec))
    with pytest.raises(InputError, match="two or more `labels`, each once"):
        einfluence.measure(body.parent / "spec.yaml", body.parent / "store", report=False)
