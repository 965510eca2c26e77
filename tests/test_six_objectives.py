"""Models of all six kinds in one store: one scorecard, one report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import einfluence
from einfluence.objectives import OBJECTIVES
from tests.objectives import test_masked_lm, test_pretrained_images, test_seq2seq, test_sequence_class, test_token_class
from tests.objectives.tiny_texts import save_encoder

USER, SAYS = {"role": "user"}, {"role": "assistant"}
ARMS = [{"recipe": {"adapter": "last", "optimizer": "sgd", "lr": 0.1, "steps": 1}}]
ROWS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "causal_lm": [  # chats of two answers each
        {
            "messages": [
                USER | {"content": "dax is a"},
                SAYS | {"content": kind},
                USER | {"content": "wug is a"},
                SAYS | {"content": other},
            ]
        }
        for kind, other in itertools.permutations(["bird", "fish", "wings"], 2)
    ][:5],
    "seq2seq": [{"prompt": one, "target": other} for one, other in (*test_seq2seq.TEXTS, ("ada likes", "paris"))],
    "masked_lm": [
        {"text": text, "target": target}
        for text, target, _ in (*test_masked_lm.TEXTS, ("paris is a [MASK] bird", "good", 1))
    ],
    "sequence_class": [
        {"text": text, "label": label} for text, _, label in (*test_sequence_class.TEXTS, ("ada", None, "positive"))
    ],
    "token_class": [
        {"tokens": text.split(), "tags": tags}
        for text, tags in (
            ("bird", ["B-per"]),
            ("in paris", ["O", "B-loc"]),
            *(sentence for sentence in test_token_class.SENTENCES if None not in sentence[1]),
        )
    ],
}


def test_six_objectives_are_in_one_store_and_one_report(tmp_path: Path, gpt2_folder: Path) -> None:
    bases = {
        "causal_lm": gpt2_folder,
        "seq2seq": test_seq2seq.save(tmp_path / "t5", "T5"),
        "masked_lm": save_encoder(tmp_path / "cloze", "Bert", "MaskedLM"),
        "sequence_class": test_sequence_class.save(tmp_path / "bert", "Bert"),
        "token_class": save_encoder(tmp_path / "tagger", "Bert", "TokenClassification", test_token_class.LABELS),
        "image_class": test_pretrained_images.save(tmp_path / "vit", "ViT", [str(digit) for digit in range(10)]),
    }
    parts: list[dict[str, Any]] = []
    for name, base in bases.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, ROWS.get(name, ()))))
        data: dict[str, Any] = {"samples": f"{name}.jsonl"} if name in ROWS else {"images": {"probes": 5, "queries": 6}}
        if name == "causal_lm":
            (tmp_path / "t.jinja").write_text("{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}")
            data["chat_template"] = "t.jinja"
        parts.append({"name": name, "base": str(base), "arms": ARMS, **data})
    (tmp_path / "spec.yaml").write_text(json.dumps({"parts": parts}))
    result = einfluence.measure(tmp_path / "spec.yaml", tmp_path / "store")
    assert (result.computed, result.failed) == (5 * 8 + 4 * 25 + 5 * 6, 0)
    with einfluence.Store(tmp_path / "store").connect() as connection:
        measured = connection.sql("select distinct objective from samples join influence on sample_id = query_id")
        learned = connection.sql(
            "select label, n from desiderata join bases using (base) where desideratum = 'gate' and variant = 'nats' "
            "and domain = 'all' and value is not null"
        ).fetchall()
        assert {name for (name,) in measured.fetchall()} == set(OBJECTIVES) == set(bases)
    assert len(learned) == 6 and {n for _, n in learned} == {5}
    page = (tmp_path / "store" / "report.html").read_text(encoding="utf-8")
    assert all(label in page for label, _ in learned)
