"""Text classification: what transformers' own loop says of many architectures, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

import einfluence
from einfluence import engine
from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.objectives.sequence_class import SequenceClass
from einfluence.samples import Sample
from einfluence.spec import Recipe
from tests.engine.random_models import scatter
from tests.models.folders import change_config, change_weights
from tests.objectives.tiny_texts import hold_against_the_definition

WORDS = "[PAD] [UNK] [CLS] [SEP] a bad bird dull film fine fish good is likes nobody sees that the this".split()
LABELS = ["negative", "neutral", "positive"]
TEXTS = [
    ("this film is good", None, "positive"),
    ("the film is bad", None, "negative"),
    ("nobody likes that dull dull film", None, "negative"),
    ("the bird sees a fish", "the fish is fine", "neutral"),
]
_SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "pad_token_id": 0,
    "num_attention_heads": 2, "max_position_embeddings": 24, "id2label": dict(enumerate(LABELS)),
    "label2id": {name: index for index, name in enumerate(LABELS)},
}  # fmt: skip
_MODERN = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "layer_types": None}
_TOKENS = {"bos_token_id": 2, "eos_token_id": 3}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "Bert": {},
    "DistilBert": {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2},
    "Roberta": {**_TOKENS, "max_position_embeddings": 26, "type_vocab_size": 2},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "ModernBert": {**_MODERN, "global_attn_every_n_layers": 2, "local_attention": 8},
    "Qwen3": {**_TOKENS, "num_key_value_heads": 1, "head_dim": 8},
    "Electra": {"embedding_size": 16},
    "GPT2": {**_TOKENS, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24},
}
HEADS = {  # the last Linear, where it has another name
    "RobertaForSequenceClassification": "classifier.out_proj",
    "ElectraForSequenceClassification": "classifier.out_proj",
    "Qwen3ForSequenceClassification": "score",
    "GPT2ForSequenceClassification": "score",
}


def save(folder: Path, name: str) -> Path:
    """A random classifier as `save_pretrained` writes it, with a tokenizer that frames texts as BERT's does."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep")}
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (name in ("Bert", "Electra"))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **special)
    made.save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**{**_SHAPE, **ARCHITECTURES[name]})
        model = getattr(transformers, f"{name}ForSequenceClassification")(config)
        scatter(model)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(save(tmp_path_factory.mktemp("classifier"), request.param))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return save(tmp_path / "bert", "Bert")


def load(folder: Path) -> Base:
    return load_base(find_base(str(folder), "test"))


def sample(text: str, more: str | None, label: str) -> Sample:
    inputs = {"text": text} if more is None else {"text": text, "text_b": more}
    return Sample("s", objective="sequence_class", inputs=inputs, target=label)


def by_transformers(folder: str, adapter: str, probe: int) -> Iterator[float]:
    """Influence as transformers' own tokenizer, loss and logits have it: two steps of SGD."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(folder).double().eval()
    trained = model if adapter == "full" else model.get_submodule(HEADS.get(type(model).__name__, "classifier"))

    def inputs(index: int) -> dict[str, Tensor]:
        text, more, _ = TEXTS[index]
        return dict(tokenizer(text, more, return_tensors="pt"))

    @torch.no_grad()
    def logprobs() -> list[float]:
        said = [model(**inputs(index)).logits.log_softmax(-1)[0] for index in range(len(TEXTS))]
        return [float(each[LABELS.index(TEXTS[index][2])]) for index, each in enumerate(said)]

    before = logprobs()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.02)
    for _ in range(2):
        loss = model(**inputs(probe), labels=torch.tensor([LABELS.index(TEXTS[probe][2])])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (after - start for after, start in zip(logprobs(), before, strict=True))


@pytest.mark.parametrize("adapter", ["full", "last"])
def test_influence_is_what_a_loop_of_transformers_says(base: Base, adapter: str) -> None:
    recipe = Recipe.model_validate({"adapter": adapter, "optimizer": "sgd", "lr": 0.02, "steps": 2, "dtype": "float64"})
    items = [encode(base, sample(*text)) for text in TEXTS]
    found = engine.measure(base, recipe, [[items[0]], [items[3]]], items, 0)
    for probe, row in zip((0, 3), found.rows, strict=True):
        assert row.after is not None
        influence = row.after.logprob - found.before.logprob
        wanted = np.array(list(by_transformers(base.info.folder, adapter, probe)))
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(influence, wanted, rtol=1e-4, atol=1e-6)


def test_adapters_train_the_body_as_the_definition_says_and_leave_the_base_alone(base: Base) -> None:
    samples = [sample(*text) for text in TEXTS]
    hold_against_the_definition(base, samples)
    recipe = Recipe.model_validate({"adapter": {"kind": "lora", "r": 2}, "optimizer": "adamw", "lr": 0.01, "steps": 1})
    items = [encode(base, each) for each in samples[:2]]
    (row,) = engine.measure(base, recipe, [items], items, 0).rows
    assert row.tuned.layer_updates.keys().isdisjoint({"classifier.weight", "score.weight"})


@torch.no_grad()
def test_a_padded_batch_says_what_each_text_says_alone(base: Base) -> None:
    items = [encode(base, sample(*text)) for text in TEXTS]
    together = base.objective.logits(base.model, base.objective.collate(items))
    for item, logits in zip(items, together, strict=True):
        alone = base.objective.logits(base.model, base.objective.collate([item]))[0]
        torch.testing.assert_close(logits, alone, rtol=1e-4, atol=1e-5)


def test_a_file_of_texts_and_labels_is_measured_to_the_store(bert: Path) -> None:
    rows = [
        {"id": str(index), "text": text, **({"text_b": more} if more else {}), "label": label}
        for index, (text, more, label) in enumerate(TEXTS)
    ]
    (bert.parent / "texts.jsonl").write_text("\n".join(map(json.dumps, [*rows, {**rows[0], "id": "4", "label": 0}])))
    arms = [{"recipe": {"adapter": "last", "optimizer": "sgd", "lr": 0.1, "steps": 1}}]
    spec = bert.parent / "spec.yaml"
    spec.write_text(json.dumps({"base": "bert", "samples": "texts.jsonl", "text_pairs": "any", "arms": arms}))
    result = einfluence.measure(spec, bert.parent / "store")
    assert (result.computed, result.failed) == (25, 0)
    with einfluence.Store(bert.parent / "store").connect() as connection:
        found = connection.sql("select name, domain, target, label, objective from samples order by name").fetchall()
        selves = connection.sql(
            "select influence from influence join relations using (probe_id, query_id) where kind = 'self'"
        ).fetchall()
        distances = connection.sql("select count(distance), min(distance) from relations").fetchall()
    assert found[3:] == [
        ("3", "neutral", "neutral", 1, "sequence_class"),
        ("4", "negative", "negative", 0, "sequence_class"),
    ]
    assert len(selves) == 5 and all(influence > 0 for (influence,) in selves)
    assert distances[0][0] == 25 and distances[0][1] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "a film", "label": "great"}, "label: found 'great'; expected negative, neutral, positive, or an"),
        ({"text": "a film", "label": 3}, "label: found 3; expected .*from 0 to 2"),
        ({"text": "a film", "label": True}, "label: found True"),
        ({"text": 7, "label": 1}, "text: found 7; expected text"),
        ({"text": " ", "label": 1}, "which tokenizes to nothing"),
        ({"text": "a " * 30, "label": 1}, "a text of 32 tokens; expected at most 24"),
        ({"prompt": "a", "target": "film"}, "no `text` and `label`"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_its_place(bert: Path, row: dict[str, Any], says: str) -> None:
    (bert.parent / "texts.jsonl").write_text(json.dumps({"id": "a", **row}))
    spec = bert.parent / "spec.yaml"
    spec.write_text(json.dumps({"base": "bert", "samples": "texts.jsonl"}))
    with pytest.raises(InputError, match=rf"texts.jsonl:1.*{says}"):
        einfluence.measure(spec, bert.parent / "store", report=False)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("join", "", "join: found .*sequence_class has no prompt"),
        ("bos", "always", "bos: found .*sequence_class has no prompt"),
        ("classes", {"positive": 0}, "found classes for sequence_class"),
        ("arms", [{"estimator": "in_context"}], "whose objective has no prompt"),
    ],
)
def test_what_only_other_objectives_have_is_refused(bert: Path, key: str, value: object, says: str) -> None:
    (bert.parent / "texts.jsonl").write_text(json.dumps({"id": "a", "text": "a film", "label": 1}))
    spec = bert.parent / "spec.yaml"
    spec.write_text(json.dumps({"base": "bert", "samples": "texts.jsonl", key: value}))
    with pytest.raises(InputError, match=says):
        einfluence.measure(spec, bert.parent / "store", report=False)


def test_a_classifier_without_its_head_is_refused(bert: Path) -> None:
    change_weights(bert, lambda old: {name: value for name, value in old.items() if "classifier" not in name})
    with pytest.raises(InputError, match=r"classifier\.bias, classifier\.weight are missing"):
        load(bert)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"problem_type": "multi_label_classification"}, "expected a classifier of one class"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}, "2 classes, and weights of a head of 3"),
        ({"id2label": {"0": "a", "1": "b", "4": "c"}}, "id2label: found classes at 0, 1, 4; expected one at each"),
        ({"label2id": {"negative": 2, "neutral": 1, "positive": 0}}, "label2id: found 2 for 'negative', which is 0"),
        ({"id2label": {"0": "a", "1": "b", "2": "b"}, "label2id": {"a": 0, "b": 1}}, "each with its own name"),
        ({"architectures": ["BertForQuestionAnswering"]}, "a model that marks answers"),
    ],
)
def test_other_problems_than_one_class_a_text_are_refused(bert: Path, change: dict[str, Any], says: str) -> None:
    change_config(bert, **change)
    with pytest.raises(InputError, match=says):
        load(bert)


def test_where_names_look_like_indices_only_names_are_labels(bert: Path) -> None:
    objective = load(bert).objective
    assert isinstance(objective, SequenceClass)
    stars = replace(objective, labels=("1", "2", "3"))
    read = stars.curation()["rows"].read
    assert read("x", {"text": "a film", "label": 3})["label"] == 2
    with pytest.raises(InputError, match="label: found 0; expected 1, 2, 3, by name, as these names look like indices"):
        read("x", {"text": "a film", "label": 0})


def test_labels_are_those_of_the_configuration(bert: Path) -> None:
    objective = load(bert).objective
    assert isinstance(objective, SequenceClass) and objective.labels == tuple(LABELS)
    assert objective.max_length == 24 and objective.kinds and objective.pad == 0


def test_labelled_sentences_are_texts_with_the_classes_of_the_base(tmp_path: Path) -> None:
    rows = [("this film is good", 1), ("the film is bad", 0), ("the bird sees", -1), ("this film is good", 1)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": text, "label": n}) for text, n in rows))
    folder = save(tmp_path / "bert", "Bert")
    source = {"name": "sentiment", "path": "rows.jsonl"}
    spec: dict[str, Any] = {"base": str(folder), "source": source, "arms": [{"recipe": {"lr": 0.01, "steps": 1}}]}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    einfluence.measure(tmp_path / "spec.yaml", tmp_path / "store", report=False)
    with einfluence.Store(tmp_path / "store").connect() as connection:
        found = connection.sql("select prompt, target, label, domain from samples order by prompt").fetchall()
    assert found == [
        ("the film is bad", "negative", 0, "negative"), ("this film is good", "positive", 2, "positive"),
    ]  # fmt: skip
    change_config(folder, id2label={"0": "no", "1": "perhaps", "2": "yes"})
    with pytest.raises(InputError, match="sentiment, with the classes no, perhaps, yes of"):
        einfluence.measure(tmp_path / "spec.yaml", tmp_path / "other", report=False)
