"""What the model sees, shown: tokens of prompt and target told apart, and nothing invisible."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einfluence.models.base import HasTokens
from einfluence.objectives import encode
from einfluence.objectives.causal_lm import causal, encode_text
from einfluence.seen import marked, visible
from flows import cli
from tests.engine.tokenizers import Setting, base_with, tokenizer
from tests.estimators.test_objectives import MADE
from tests.objectives.tiny_texts import load


@pytest.mark.parametrize(
    ("setting", "prompt", "target", "shown"),
    [
        (Setting("byte"), "abc is", "a", "[<s>][abc][␣][i][s]‖[␣a]"),
        (Setting("byte"), "a\n\n\t", "\x1b[0m", "[<s>][a][⏎⏎][⇥]‖[\\x1b][[][0][m]"),
        (Setting("byte"), "東", "京", "[<s>][\\xe6][\\x9d][\\xb1]‖[\\xe4][\\xba][\\xac]"),
        (Setting("byte", frame="bare"), "a</s>", "b", "[a][</s>][␣]‖[b]"),
        (Setting("meta", prefix=True), "ab c", "01", "[<s>][␣][ab][␣][c][␣]‖[01]"),
        (Setting("wordpiece"), "abc", "abcd", "[<s>][abc]‖[abc][##d]"),
    ],
)
def test_tokens_are_shown(setting: Setting, prompt: str, target: str, shown: str) -> None:
    base = base_with(tokenizer(setting))
    assert marked(causal(base).tokens(encode_text(base, prompt, target, "here"))) == shown


@given(st.text())
def test_nothing_invisible_reaches_the_terminal(text: str) -> None:
    assert all(character.isprintable() and character != " " for character in visible(text))


def test_the_command_prints_them(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"id": "a\x07", "prompt": "dax is a", "target": "bird"}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + '\n{"id": "b", "target": "fish"}\n')
    arms = [{"estimator": "in_context"}]
    spec = {"base": str(gpt2_folder), "samples": "samples.jsonl", "arms": arms}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    monkeypatch.setattr(sys, "argv", ["einfluence", "curate", str(tmp_path / "spec.yaml"), "--tokens"])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out
    assert "  a\\x07 (4 tokens, 1 trained): [dax][is][a]‖[bird]\n" in said
    assert "  b (2 tokens, 1 trained): [<bos>]‖[fish]\n" in said
    assert "  b behind a\\x07, in the prompt (5 tokens, 1 trained): [dax][is][a][bird]‖[fish]\n" in said


def test_of_a_chat_each_answer_is_shown_behind_its_beginning(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [("user", "dax is a"), ("assistant", "bird"), ("user", "wug is a"), ("assistant", "fish")]
    row = {"id": "c", "messages": [{"role": role, "content": content} for role, content in turns]}
    (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "id": "d"}))
    (tmp_path / "t.jinja").write_text("{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}")
    spec = {"base": str(gpt2_folder), "samples": "samples.jsonl", "chat_template": "t.jinja"}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    command = ["einfluence", "curate", str(tmp_path / "spec.yaml"), "--tokens", "--first"]
    for first, shown in (("1", 1), ("9", 2)):
        monkeypatch.setattr(sys, "argv", [*command, first])
        with pytest.raises(SystemExit):
            cli.main()
        said = capsys.readouterr().out
        assert said.count("trained): ") == shown
        assert "  c/1 (4 tokens, 1 trained): [dax][is][a]‖[bird]\n" in said
    assert "  c/2 (8 tokens, 1 trained): [dax][is][a][bird][wug][is][a]‖[fish]\n" in said


@pytest.mark.parametrize(
    ("kind", "place", "shown"),
    [
        ("sequence_class", 3, "[[CLS]][the][bird][sees][a][fish][[SEP]][the][fish][is][fine][[SEP]]‖[neutral]"),
        ("token_class", 1, "[[CLS]][ada][fish][##es][lives][in][paris‖B-loc][[SEP]]"),
        ("masked_lm", 1, "[[CLS]][nobody][likes][the][[MASK]‖bad][[MASK]‖bird][[MASK]‖##s][of][paris][.][[SEP]]"),
        ("seq2seq", 1, "[the][bird][##s][[SEP]]‖[fish]"),
    ],
)
def test_of_other_objectives_each_target_is_shown_where_it_is_predicted(
    kind: str, place: int, shown: str, tmp_path: Path
) -> None:
    save, samples = MADE[kind]
    base = load(save(tmp_path))
    assert isinstance(base.objective, HasTokens)
    item = encode(base, samples[place])
    assert marked(base.objective.tokens(item)) == shown
    assert item.n_target == (shown.count("‖") if kind != "seq2seq" else 1)
