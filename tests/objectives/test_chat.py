"""Chats by chat templates: which tokens are the assistant's, by the template's marks and by what each turn adds."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from einfluence.curate.rows.content import Chat
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives.causal_lm import causal, encode_text
from einfluence.objectives.chat import ChatTemplate
from tests.engine.tokenizers import Setting, base_with, tokenizer

TURNS = (
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "abc?"},
    {"role": "assistant", "content": "ab"},
    {"role": "user", "content": "and 01?"},
    {"role": "assistant", "content": " abc \n"},
)
CHAT = Chat(TURNS, (2, 4))
# In the manner of ChatML, Llama 3, Llama 2 and Zephyr; `</s>` is the tokenizer's one control token that ends turns.
CHATML = """{%- for m in messages %}{{ '<s>' + m['role'] + '\n' }}{%- if m['role'] == 'assistant' %}
{%- generation %}{{ m['content'] + '</s>' }}{%- endgeneration %}{{ '\n' }}
{%- else %}{{ m['content'] + '</s>\n' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{ '<s>assistant\n' }}{%- endif %}"""
LLAMA3 = """{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]\n\n{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim }}</s>{% endgeneration %}{% else %}{{ m['content'] | trim }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]\n\n{% endif %}"""  # noqa: E501
LLAMA2 = """{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %} {{ m['content'] | trim }} </s>{% endgeneration %}{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"""  # noqa: E501
ZEPHYR = """{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|assistant|>\n' }}{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% else %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token }}{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"""  # noqa: E501
NO_END = """{% for m in messages %}{{ m['role'] + ': ' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '\n' }}{% endgeneration %}{% else %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"""  # noqa: E501
TEMPLATES = {"chatml": CHATML, "llama 3": LLAMA3, "llama 2": LLAMA2, "zephyr": ZEPHYR, "without an end": NO_END}


def unmarked(template: str) -> str:
    """A template without its marks, as most are published."""
    return re.sub(r"\{%(-?)\s*(end)?generation\s*(-?)%\}", lambda mark: f"{{%{mark[1]} if true {mark[3]}%}}{{% endif %}}", template)  # noqa: E501  # fmt: skip


def writer(template: str | None) -> ChatTemplate:
    tok = tokenizer(Setting("byte", frame="bare"))
    tok.chat_template = template
    return ChatTemplate(tok, "base")


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("trained", [(2, 4), (4,), (2,)])
def test_marks_and_added_turns_say_the_same(name: str, trained: tuple[int, ...]) -> None:
    chat = Chat(TURNS, trained)
    marked = writer(TEMPLATES[name])(chat, "here")
    assert writer(unmarked(TEMPLATES[name]))(chat, "here") == marked
    assert [("ab" in target, prompt[-1:]) for prompt, target in marked] == [(True, marked[0][0][-1:])] * len(trained)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_targets_are_the_tokens_that_transformers_masks(name: str) -> None:
    """The independent way: token ids of the whole chat with the assistant's mask, as trainers ask for them."""
    tok = tokenizer(Setting("byte", frame="bare"))
    encoded: Any = tok.apply_chat_template(
        list(TURNS), chat_template=TEMPLATES[name], return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    base = base_with(tok)
    taught: list[int] = []
    for prompt, target in ChatTemplate(tok, "base")(CHAT, "here", TEMPLATES[name]):
        item = encode_text(base, prompt, target, "here", join="", bos="never")
        assert list(item.ids) == ids[: len(item.ids)]
        taught += range(len(item.ids) - item.n_target, len(item.ids))
    assert taught == [at for at, marked in enumerate(mask) if marked]


def test_training_the_answers_together_is_training_the_chat_with_its_mask(gpt2: Base) -> None:
    """A bundle of all answers, each behind its own beginning, has the loss of the whole chat over the masked tokens."""
    tok = causal(gpt2).tokenizer
    template = "{% for m in messages %}{{ m['role'] + ' ' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + ' ' }}{% endgeneration %}{% else %}{{ m['content'] + ' ' }}{% endif %}{% endfor %}"  # noqa: E501
    turns = [
        {"role": role, "content": content}
        for role, content in [("user", "dax is a"), ("assistant", "bird"), ("user", "wug is a"), ("assistant", "fish")]
    ]
    pieces = ChatTemplate(tok, "base")(Chat(tuple(turns), (1, 3)), "here", template)
    items = [encode_text(gpt2, prompt, target, "here", join="", bos="never") for prompt, target in pieces]
    total = torch.zeros(())
    for item in items:
        ids = torch.tensor([item.ids])
        losses = torch.nn.functional.cross_entropy(gpt2.model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        total = total + losses[-item.n_target :].sum()
    whole = torch.tensor([items[-1].ids])
    places = [at for item in items for at in range(len(item.ids) - item.n_target, len(item.ids))]
    labels = torch.full_like(whole, -100)
    labels[0, places] = whole[0, places]
    expected = gpt2.model(whole, labels=labels).loss
    assert total / len(places) == pytest.approx(expected.item(), rel=1e-5)


def test_a_prompt_that_asks_with_more_than_is_written_later_is_cut_where_they_part() -> None:
    thinks = "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant><think>\n' }}{% endif %}"  # noqa: E501
    pieces = writer(thinks)(Chat(TURNS[:3], (2,)), "here")
    assert pieces == [("<system>be brief</s><user>abc?</s><assistant>", "ab</s>")]


def test_tools_and_options_reach_the_template() -> None:
    template = "{{ tools[0].name }} {{ style }} {% for m in messages %}{{ m['content'] }};{% endfor %}"
    chat = Chat(TURNS[1:3], (1,), ({"name": "f"},), {"style": "terse"})
    assert writer(template)(chat, "here") == [("f terse abc?;", "ab;")]


def test_the_template_of_the_part_comes_before_the_bases() -> None:
    assert writer(CHATML)(Chat(TURNS[1:3], (1,)), "here", NO_END) == [("user: abc?\nassistant: ", "ab\n")]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (None, "found a chat, and base, which has no chat template; expected a base with a chat template. `chat_temp"),
        ("{{ raise_exception('no system') }}", r"does not write these turns \(TemplateError: no system\)"),
        ("{% for m in messages %}{{ m['content'] ", "TemplateSyntaxError"),
        ("{% for m in messages %}{% generation %}a{% endgeneration %}{% endfor %}", "marks 5 generations in 2 turns"),
        ("{{ messages | length }}", "writes the turns before turn 2 otherwise once it is there"),
        ("{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}", "writes noth"),
    ],
)
def test_a_template_that_does_not_fit_is_named(template: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        writer(template)(CHAT, "rows.jsonl:3")
