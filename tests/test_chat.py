"""Probes as turns of a chat: one beginning, before and behind; templates that refuse are told before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence import InputError
from einfluence.bases.load import find_base, load_base
from einfluence.estimators.in_context import beginning, block, context
from einfluence.models.base import Base
from einfluence.objectives.causal_lm import encode_text
from einfluence.samples import ProbeSamples, Sample
from einfluence.spec import InContext, Prompting
from tests.engine.tokenizers import Setting, base_with, tokenizer

TURNS = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] "
SPEAKS = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('a system turn comes first') }}{% endif %}"
PROBE = [Sample("p", "abc is", "ab")]
Chatty = Callable[[str], Path]


def talking(frame: str, template: str) -> Base:
    tok = tokenizer(Setting("byte", frame=frame))
    tok.chat_template = template
    return base_with(tok)


@pytest.mark.parametrize("frame", ["bare", "bos", "both", "eos"])
@pytest.mark.parametrize("writes", ["{{ bos_token }}", ""])
def test_a_chat_begins_once_and_the_query_alone_like_it(frame: str, writes: str) -> None:
    base = talking(frame, writes + TURNS)
    bos = beginning(base, Prompting(chat=True))
    behind = encode_text(base, context(base, Prompting(chat=True), PROBE) + "abc", "ab", "q", bos=bos)
    alone = encode_text(base, "abc", "ab", "q", bos=bos)
    expected = int(bool(writes) or frame in ("bos", "both"))
    assert behind.ids.count(0) == alone.ids.count(0) == expected
    assert not expected or behind.ids[0] == alone.ids[0] == 0


def test_a_template_that_writes_the_date_writes_the_same_one_tomorrow() -> None:
    base = talking("bos", "{{ strftime_now('%d %b %Y') }} " + TURNS)
    assert context(base, Prompting(chat=True), PROBE).startswith("26 Jul 2024 [user] abc is ab")


@pytest.fixture
def chatty(tmp_path: Path, gpt2_folder: Path) -> Chatty:
    """Writes a study whose base has a chat template."""

    def write(template: str) -> Path:
        base = tmp_path / "base"
        base.mkdir()
        for file in gpt2_folder.iterdir():
            (base / file.name).write_bytes(file.read_bytes())
        (base / "chat_template.jinja").write_text(template)
        rows = [
            {"id": "a", "prompt": "dax is a", "target": "bird"},
            {"id": "b", "prompt": "wug is a", "target": "fish"},
        ]
        (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
        arms: list[dict[str, Any]] = [{"recipe": {"steps": 1}}, {"estimator": "in_context", "recipe": {"chat": True}}]
        spec = tmp_path / "spec.yaml"
        spec.write_text(json.dumps({"base": "base", "samples": "samples.jsonl", "arms": arms}))
        return spec

    return write


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (SPEAKS + TURNS, "TemplateError: a system turn comes first"),
        ("{% for m in messages %}{{ m['content'] ", "TemplateSyntaxError: unexpected end of template"),
        ("{{ messages[3].content }}", "UndefinedError: list object has no element 3"),
        ("{{ messages + 1 }}", "TypeError: can only concatenate list"),
    ],
)
def test_a_template_that_refuses_is_told_before_anything_is_computed(chatty: Chatty, template: str, says: str) -> None:
    spec = chatty(template)
    with pytest.raises(InputError) as error:
        einfluence.measure(spec, spec.parent / "store", report=False)
    assert error.value.where == "parts.main: arms recipe.chat"
    assert "chat template of base that does not write" in error.value.found and says in error.value.found
    assert not list((spec.parent / "store").glob("influence/**/*.parquet"))


def test_a_turn_that_a_template_refuses_fails_alone(chatty: Chatty) -> None:
    spec = chatty("{% if 'wug' in messages[0].content %}{{ raise_exception('no wugs') }}{% endif %}" + TURNS)
    result = einfluence.measure(spec, spec.parent / "store", report=False)
    assert result.failed == 1 and result.computed == 6
    assert "no wugs" in next(iter(result.reasons.values()))


def test_influence_in_a_chat_is_between_texts_that_begin_alike(chatty: Chatty) -> None:
    base = load_base(find_base(str(chatty("{{ bos_token }}" + TURNS).parent / "base"), "test"))
    query = Sample("q", "dax is", "bird")
    before, _ = block(base, InContext(recipe=Prompting(chat=True)), 0, [ProbeSamples((*PROBE,))], [query])
    alone = encode_text(base, "<bos> dax is", "bird", "q")
    from einfluence.engine import CheckedScorer

    assert before.logprob == pytest.approx(CheckedScorer(base)([alone]).logprob)
