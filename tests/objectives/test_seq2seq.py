"""Encoder-decoder models: what a loop over transformers' own models says of many architectures, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.samples import Sample
from tests.models.folders import change_config, change_weights
from tests.objectives.tiny_texts import (
    WORDS,
    hold_a_padded_batch_against_its_items,
    hold_against,
    hold_against_the_definition,
    load,
    measured,
    save_model,
    save_tokenizer,
)

TEXTS = [
    ("this film is", "good ."),
    ("the birds", "fish"),
    ("nobody likes the bad film", "fine fishes in paris"),
    ("ada sees the", "film"),
]
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
_BART = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 24, "bos_token_id": 2,
    "decoder_start_token_id": 3,
}  # fmt: skip
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "T5": ("T5ForConditionalGeneration", _T5),
    "MT5": ("MT5ForConditionalGeneration", {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "Bart": ("BartForConditionalGeneration", _BART),
    "Pegasus": ("PegasusForConditionalGeneration", {**_BART, "decoder_start_token_id": 0}),
    "Marian": ("MarianMTModel", {**_BART, "decoder_start_token_id": 0}),
}


def sample(prompt: str, target: str) -> Sample:
    return Sample("s", objective="seq2seq", inputs={"prompt": prompt}, target=target)


SAMPLES = [sample(*each) for each in TEXTS]


def save(folder: Path, name: str) -> Path:
    kind, shape = ARCHITECTURES[name]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(WORDS), pad_token_id=0, eos_token_id=3, forced_eos_token_id=None, **shape
    )
    save_tokenizer(folder, "[CLS] $A [SEP]" if name == "Bart" else "$A [SEP]")
    save_model(folder, kind, config)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(save(tmp_path_factory.mktemp("seq2seq"), request.param))


@pytest.fixture
def t5(tmp_path: Path) -> Path:
    return save(tmp_path / "t5", "T5")


def test_influence_is_what_a_loop_of_transformers_says(base: Base) -> None:
    folder = base.info.folder
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).double().eval()

    def losses(index: int) -> torch.Tensor:
        prompt, target = TEXTS[index]
        labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        inputs = tokenizer(prompt, return_tensors="pt")["input_ids"]
        read = model.prepare_decoder_input_ids_from_labels(labels=labels)
        logits = model(input_ids=inputs, decoder_input_ids=read).logits
        own = ~torch.isin(labels, torch.tensor(tokenizer.all_special_ids))
        return torch.nn.functional.cross_entropy(logits[own], labels[own])

    hold_against(base, model, SAMPLES, "lm_head", losses)


def test_adapters_are_trained_as_the_definition_says_and_leave_the_base_alone(base: Base) -> None:
    hold_against_the_definition(base, SAMPLES)


def test_a_padded_batch_says_what_each_pair_says_alone(base: Base) -> None:
    hold_a_padded_batch_against_its_items(base, SAMPLES)


def test_prompts_and_targets_are_measured_to_the_store_with_their_relations(t5: Path) -> None:
    rows = [{"id": str(at), "prompt": prompt, "target": target} for at, (prompt, target) in enumerate(TEXTS)]
    (t5.parent / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (t5.parent / "relations.jsonl").write_text(json.dumps({"probe": "0", "query": "3", "kind": "paraphrase"}))
    store = measured(t5, samples="rows.jsonl", relations="relations.jsonl")
    query = """
        select probes.name, query.name, relations.kind from relations join probes using (probe_id)
        join samples query on query.sample_id = query_id where relations.kind <> 'self'
    """
    with store.connect() as connection:
        found = connection.sql("select objective, prompt, target, inputs from samples order by name").fetchall()
        assert connection.sql(query).fetchall() == [("0", "3", "paraphrase")]
        assert connection.sql("select count(distance), count(*) from relations").fetchall() == [(16, 16)]
        assert connection.sql("select count(*) from influence").fetchall() == [(16,)]
    assert found[1] == ("seq2seq", "the birds", "fish", '{"prompt": "the birds"}')


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"prompt": "a " * 30, "target": "film"}], "a prompt of 32 tokens; expected at most 24"),
        ([{"prompt": "a", "target": "film", "join": ""}, {"prompt": "a", "target": "film"}], "by its `join` alone"),
    ],
)
def test_rows_that_do_not_fit_are_told_with_their_place(tmp_path: Path, rows: list[Any], says: str) -> None:
    save(tmp_path / "t5", "Bart")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=rf"rows.jsonl:\d.*{says}"):
        measured(tmp_path / "t5", samples="rows.jsonl", distance=["lexical"])


def test_a_decoder_that_is_missing_is_refused(t5: Path) -> None:
    change_weights(t5, lambda old: {name: value for name, value in old.items() if "decoder.block.1" not in name})
    with pytest.raises(InputError, match=r"decoder\.block\.1.* missing"):
        load(t5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"decoder_start_token_id": None}, "decoder_start_token_id"),
        ({"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}, "does not take for"),
    ],
)
def test_other_models_with_an_encoder_and_a_decoder_are_refused(t5: Path, change: dict[str, Any], says: str) -> None:
    change_config(t5, **change)
    with pytest.raises(InputError, match=says):
        load(t5)
