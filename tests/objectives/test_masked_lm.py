"""Masked language models: what a loop of transformers says of many architectures, masks in data, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.samples import Sample
from tests.models.folders import change_config, change_weights
from tests.objectives.tiny_texts import (
    ENCODERS,
    hold_against,
    hold_against_the_definition,
    load,
    measured,
    save_encoder,
)

TEXTS = [
    ("this film is [MASK] .", "good", 1),
    ("nobody likes the [MASK] of paris .", "bad birds", 3),  # `birds` is two pieces
    ("[MASK] lives in paris .", "ada", 1),
    ("the bird sees a [MASK]", "fine fish", 2),
]


def sample(text: str, target: str) -> Sample:
    return Sample("s", objective="masked_lm", inputs={"text": text}, target=target)


SAMPLES = [sample(text, target) for text, target, _ in TEXTS]


@pytest.fixture(scope="module", params=ENCODERS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(save_encoder(tmp_path_factory.mktemp("masked"), request.param, "MaskedLM"))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "bert", "Bert", "MaskedLM")


def test_influence_is_what_a_loop_of_transformers_says(base: Base) -> None:
    folder = base.info.folder
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForMaskedLM.from_pretrained(folder).double().eval()

    def losses(index: int) -> torch.Tensor:
        text, target, count = TEXTS[index]
        inputs = tokenizer(text.replace("[MASK]", " ".join(["[MASK]"] * count)), return_tensors="pt")
        labels = torch.full_like(inputs["input_ids"], -100)
        hidden = inputs["input_ids"] == tokenizer.mask_token_id
        labels[hidden] = torch.tensor(tokenizer(target, add_special_tokens=False)["input_ids"])
        return model(**inputs, labels=labels).loss

    output = model.get_output_embeddings()
    head = next(name for name, module in model.named_modules() if module is output)
    hold_against(base, model, SAMPLES, head, losses)


def test_adapters_are_trained_as_the_definition_says_and_leave_the_base_alone(base: Base) -> None:
    hold_against_the_definition(base, SAMPLES)


def test_all_tokens_of_a_target_are_hidden_together(bert: Path) -> None:
    base = load(bert)
    batch = base.objective.collate([encode(base, SAMPLES[1])])
    tokens = base.objective.encoder.tokenizer.convert_ids_to_tokens(batch.inputs["input_ids"][0])
    assert tokens == "[CLS] nobody likes the [MASK] [MASK] [MASK] of paris . [SEP]".split()
    assert batch.places.tolist() == [[4, 5, 6]]


def test_rows_of_texts_with_a_mask_are_measured_to_the_store(bert: Path) -> None:
    rows = [{"text": text, "target": target} for text, target, _ in TEXTS]
    (bert.parent / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with measured(bert, samples="rows.jsonl").connect() as connection:
        found = connection.sql("select objective, prompt, target from samples").fetchall()
        counts = connection.sql("select count(*), count(distance) from relations").fetchall()
    assert found == [("masked_lm", text, target) for text, target, _ in TEXTS] and counts == [(16, 16)]


def test_negated_lama_is_asked_with_a_mask_before_the_full_stop(bert: Path) -> None:
    folder = bert.parent / "lama"
    folder.mkdir()
    relation = {"relation": "P1", "template": "[X] lives in [Y] .", "template_negated": "[X] is of [Y] ."}
    (folder / "relations.jsonl").write_text(json.dumps(relation))
    facts = [{"sub_label": name, "obj_label": place} for name, place in (("ada", "paris"), ("nobody", "film"))]
    (folder / "P1.jsonl").write_text("\n".join(map(json.dumps, facts)))
    store = measured(bert, source={"name": "lama", "path": "lama"}, distance=["lexical"])
    query = """
        select probe.prompt, query.prompt, query.target from relations
        join probe_members using (probe_id) join samples probe using (sample_id)
        join samples query on query.sample_id = query_id where kind = 'negation' and position = 0
    """
    with store.connect() as connection:
        found = set(connection.sql(query).fetchall())
    assert ("ada lives in [MASK].", "ada is of [MASK].", "paris") in found


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"text": "ada lives .", "target": "a"},
            r"text: found 'ada lives \.', without a mask; expected one `\[MASK\]`",
        ),
        ({"text": "[MASK] is [MASK]", "target": "a"}, "found 2 masks"),
        ({"text": "a [MASK]", "target": " "}, "an empty target"),
        ({"text": "a [MASK]", "target": "a " * 30}, "a text of 33 tokens; expected at most 24"),
        ({"text": 7, "target": "a"}, "text: found 7; expected text"),
        ({"prompt": "a", "target": "film"}, "no `text`"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_its_place(bert: Path, row: dict[str, Any], says: str) -> None:
    (bert.parent / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=rf"rows.jsonl:1.*{says}"):
        measured(bert, samples="rows.jsonl")


def test_a_head_that_is_missing_is_refused(bert: Path) -> None:
    change_weights(bert, lambda old: {name: value for name, value in old.items() if "transform" not in name})
    with pytest.raises(InputError, match=r"cls\.predictions\.transform.* are missing"):
        load(bert)


def test_a_pooler_and_a_head_for_pairs_of_sentences_are_left_aside(bert: Path) -> None:
    more = {"bert.pooler.dense.weight": torch.zeros(16, 16), "cls.seq_relationship.weight": torch.zeros(2, 16)}
    change_weights(bert, lambda old: {**old, **more})
    assert load(bert).info.objective == "masked_lm"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"is_decoder": True}, "is_decoder: found true; expected a model that reads both ways"),
        ({"architectures": ["BertForMaskedLM", "BertForTokenClassification"]}, "classes of several tasks"),
    ],
)
def test_a_configuration_that_can_be_read_in_two_ways_is_told(bert: Path, change: dict[str, Any], says: str) -> None:
    change_config(bert, **change)
    with pytest.raises(InputError, match=says):
        load(bert)
