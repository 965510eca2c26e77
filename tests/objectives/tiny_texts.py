"""Tiny random models of transformers for texts, each beside a tokenizer of word pieces, as people have them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import einfluence
from einfluence import engine
from einfluence.bases.load import find_base, load_base
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.samples import Sample
from einfluence.spec import Recipe
from tests.engine.random_models import scatter

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a ada bad bird film fine fish good in is likes lives nobody of paris sees the this "
    "##es ##s . ?"
).split()
SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "pad_token_id": 0,
    "num_attention_heads": 2, "max_position_embeddings": 24,
}  # fmt: skip
_TOKENS = {"bos_token_id": 2, "eos_token_id": 3}
_MODERN = {**_TOKENS, "cls_token_id": 2, "sep_token_id": 3, "layer_types": None}
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": {},
    "DistilBert": {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2},
    "Roberta": {**_TOKENS, "max_position_embeddings": 26, "type_vocab_size": 2},
    "DebertaV2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    "ModernBert": {**_MODERN, "global_attn_every_n_layers": 2, "local_attention": 8},
}


def save_tokenizer(folder: Path, frame: str = "[CLS] $A [SEP]", names: Sequence[str] = ()) -> None:
    """A tokenizer of word pieces that frames texts."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]") if name in frame]
    tokenizer.post_processor = processors.TemplateProcessing(single=frame, pair=None, special_tokens=specials)
    named = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", "attention_mask", *names]
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **named)
    made.save_pretrained(folder)


def save_model(folder: Path, kind: str, config: Any) -> None:
    """A random model, with weights large enough that influence is well above rounding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, kind)(config)
        scatter(model)
    model.save_pretrained(folder)


def save_encoder(folder: Path, name: str, task: str, labels: Sequence[str] = ()) -> Path:
    """A random encoder for a task, such as ``MaskedLM``."""
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
    config = getattr(transformers, f"{name}Config")(**{**SHAPE, **ENCODERS[name]}, **(named if labels else {}))
    save_tokenizer(folder, names=["token_type_ids"] * (name == "Bert"))
    save_model(folder, f"{name}For{task}", config)
    return folder


def load(folder: Path) -> Base:
    return load_base(find_base(str(folder), "test"))


Loss = Callable[[int], torch.Tensor]
"""The mean negative log-probability of the targets of a sample, in a loop that somebody would write."""


def hold_against(base: Base, model: Any, samples: Sequence[Sample], head: str, losses: Loss) -> None:
    """Holds influence, of all parameters and of the last layer, against a loop over a model of transformers."""
    items = [encode(base, sample) for sample in samples]
    counts = np.array([item.n_target for item in items])
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def logprobs() -> np.ndarray:
        with torch.no_grad():
            return np.array([-float(losses(index)) for index in range(len(items))]) * counts

    for adapter, trained in (("full", model), ("last", model.get_submodule(head))):
        settings: Mapping[str, Any] = {"adapter": adapter, "optimizer": "sgd", "lr": 0.02, "steps": 2}
        recipe = Recipe.model_validate({**settings, "dtype": "float64"})
        found = engine.measure(base, recipe, [[items[0]], [items[-1]]], items, 0)
        for probe, row in zip((0, len(items) - 1), found.rows, strict=True):
            model.load_state_dict(start)
            before = logprobs()
            optimizer = torch.optim.SGD(trained.parameters(), lr=0.02)
            for _ in range(2):
                optimizer.zero_grad()
                losses(probe).backward()
                optimizer.step()
            wanted = logprobs() - before
            assert row.after is not None and row.tuned.engine == "generic" and np.abs(wanted).max() > 1e-3
            np.testing.assert_allclose(row.after.logprob - found.before.logprob, wanted, rtol=1e-4, atol=1e-6)


LORA = {"kind": "lora", "r": 2}


def hold_against_the_definition(base: Base, samples: Sequence[Sample], adapter: object = LORA) -> None:
    """Influence by the engine that is taken is that of the definition, and the base stays as it is."""
    recipe = Recipe.model_validate({"adapter": adapter, "optimizer": "adamw", "lr": 0.01, "steps": 2})
    items = [encode(base, sample) for sample in samples]
    before = {name: value.clone() for name, value in base.model.state_dict().items()}  # running statistics among them
    probes = [items[:2], items[2:3]]
    found, truth = (engine.measure(base, recipe, probes, items, 0, engine=name) for name in ("auto", "serial"))
    for row, true in zip(found.rows, truth.rows, strict=True):
        assert row.tuned.engine == "generic" and row.after is not None and true.after is not None
        influence = true.after.logprob - truth.before.logprob
        assert np.abs(influence).max() > 1e-3
        moved = row.after.logprob - found.before.logprob
        np.testing.assert_allclose(moved, influence, atol=1e-2 * np.abs(influence).max())
    assert all(value.equal(before[name]) for name, value in base.model.state_dict().items())


@torch.no_grad()
def hold_a_padded_batch_against_its_items(base: Base, samples: Sequence[Sample]) -> None:
    """What a model says of an item in a padded batch is what it says of the item alone."""
    items = [encode(base, each) for each in samples]
    together = base.objective.logits(base.model, base.objective.collate(items))
    for item, logits in zip(items, together, strict=True):
        alone = base.objective.logits(base.model, base.objective.collate([item]))[0]
        torch.testing.assert_close(logits[: item.n_target], alone, rtol=1e-4, atol=1e-5)


def measured(base: Path, **part: Any) -> einfluence.Store:
    """A store in which a part with one arm was measured, beside the base that it is of."""
    folder = base.parent
    arms = [{"recipe": {"adapter": "last", "optimizer": "sgd", "lr": 0.1, "steps": 1}}]
    (folder / "spec.yaml").write_text(json.dumps({"base": base.name, "arms": arms, **part}))
    assert einfluence.measure(folder / "spec.yaml", folder / "store", report=False).failed == 0
    return einfluence.Store(folder / "store")
