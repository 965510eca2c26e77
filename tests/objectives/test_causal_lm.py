from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives import encode, encode_all
from einfluence.objectives.causal_lm import causal, encode_text, joined
from einfluence.objectives.tokenizing import AT_ONCE
from einfluence.samples import Sample
from tests.engine.tokenizers import FRAMES, NORMALIZERS, Setting, base_with, tokenizer

settings_of_all = st.builds(
    Setting,
    st.sampled_from(["byte", "meta", "unigram", "wordpiece"]),
    st.booleans(),
    st.sampled_from(sorted(FRAMES)),
    st.sampled_from(sorted(NORMALIZERS)),
)
spelled = st.text(st.sampled_from([*"abcdeé東京한и0123.,:() "]), max_size=8)


@pytest.mark.parametrize(
    ("prompt", "target", "text", "start"),
    [
        ("a", "b", "a b", 2),
        ("a ", "b", "a b", 2),
        ("a", " b", "a b", 1),
        ("a\n", "b", "a\nb", 2),
        ("", "b", "b", 0),
    ],
)
def test_prompt_and_target_meet_with_one_space(prompt: str, target: str, text: str, start: int) -> None:
    assert joined(prompt, target) == (text, start)


def test_the_targets_tokens_are_those_at_the_end(gpt2: Base) -> None:
    item = encode_text(gpt2, "dax has", "wings big", "here")
    assert causal(gpt2).tokenizer.decode(item.ids[-item.n_target :]) == "wings big"
    assert len(item.ids) == 4


def test_an_empty_prompt_gets_a_token_to_start_from(gpt2: Base) -> None:
    item = encode_text(gpt2, "", "gold", "here")
    assert item.ids == (causal(gpt2).tokenizer.bos_token_id, causal(gpt2).tokenizer.convert_tokens_to_ids("gold"))
    assert item.n_target == 1


def test_a_target_that_is_nothing_to_the_tokenizer_is_told(gpt2: Base) -> None:
    with pytest.raises(InputError, match=r"s.jsonl:3: found the target '  '"):
        encode_text(gpt2, "dax is", "  ", "s.jsonl:3")


def test_a_text_over_the_context_is_told(gpt2: Base) -> None:
    with pytest.raises(InputError, match="a text of 31 tokens; expected at most 24"):
        encode_text(gpt2, "dax " * 30, "bird", "s.jsonl:3")


def test_a_token_beyond_the_embedding_is_refused_and_only_where_it_stands(gpt2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gpt2_folder, tmp_path / "more")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zorp"])
    tokenizer.save_pretrained(folder)
    base = load_base(find_base(str(folder), "test"))
    assert len(causal(base).tokenizer) == (causal(base).vocabulary or 0) + 1
    assert encode_text(base, "dax is", "bird", "s.jsonl:3").n_target == 1
    for prompt, target in (("dax is", "zorp"), ("zorp is", "bird")):
        with pytest.raises(InputError, match=r"s.jsonl:4: found tokens that the model does not have: 'zorp' \(23\)"):
            encode_text(base, prompt, target, "s.jsonl:4")


def said(tok: Any, ids: tuple[int, ...]) -> str:
    """What token ids say, without blanks and in one normal form."""
    text = tok.decode(list(ids), clean_up_tokenization_spaces=False)
    return _squashed(text.replace("##", ""))


def _squashed(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).lower().replace("▁", " ").split())


@given(settings_of_all, spelled.filter(lambda text: text.strip() or not text), spelled.filter(str.strip))
def test_under_any_tokenizer_the_targets_tokens_say_the_target_behind_one_beginning(
    setting: Setting, prompt: str, target: str
) -> None:
    base = base_with(tokenizer(setting))
    item = encode_text(base, prompt, target, "here")
    own = {"bare": 0, "eos": 0, "bos": 1, "both": 1, "two": 2}[setting.frame]
    opening = own or int(not prompt)
    assert item.ids[:opening] == ((0, 2)[:opening] if own else (0,) * opening)
    assert item.ids.count(0) == min(opening, 1)
    assert 1 not in item.ids  # what closes a text is left out
    assert 1 <= item.n_target < len(item.ids) or not opening
    assert _squashed(target) in said(causal(base).tokenizer, item.ids[-item.n_target :])
    if not prompt.endswith(tuple("abc01東")):  # no token reaches over the joint
        assert said(causal(base).tokenizer, item.ids[-item.n_target :]) == _squashed(target)
    assert said(causal(base).tokenizer, item.ids[opening:]) == _squashed(prompt + target)


@given(
    st.sampled_from(["byte", "meta", "unigram", "wordpiece"]),
    st.sampled_from(sorted(FRAMES)),
    st.sampled_from(["auto", "always", "never"]),
    st.text(max_size=6),
    st.text(max_size=6),
)
def test_no_text_makes_it_crash(model: str, frame: str, bos: Any, prompt: str, target: str) -> None:
    base = base_with(tokenizer(Setting(model, frame=frame)), bos)
    try:
        item = encode_text(base, prompt, target, "here")
    except InputError as error:
        assert error.where == "here"
    else:
        assert 1 <= item.n_target < len(item.ids) or bos != "auto" or prompt


@pytest.mark.parametrize("model", ["byte", "meta", "unigram", "wordpiece", "word"])
@pytest.mark.parametrize("frame", sorted(FRAMES))
@pytest.mark.parametrize("prompt", ["dax is", ""])
def test_how_a_text_begins_can_be_said(model: str, frame: str, prompt: str) -> None:
    tok = tokenizer(Setting(model, frame=frame))
    own = frame in ("bos", "both", "two")
    assert (encode_text(base_with(tok), prompt, "bird", "here").ids[0] == 0) == (own or not prompt)
    assert encode_text(base_with(tok, "always"), prompt, "bird", "here").ids[0] == 0
    if prompt:
        assert 0 not in encode_text(base_with(tok, "never"), prompt, "bird", "here").ids
    else:
        with pytest.raises(InputError, match="an empty prompt under `bos: never`; expected a prompt, or `bos: auto`"):
            encode_text(base_with(tok, "never"), prompt, "bird", "here")


@pytest.mark.parametrize("bos", ["auto", "always"])
@pytest.mark.parametrize("frame", sorted(FRAMES))
def test_a_text_that_writes_its_own_beginning_gets_no_second(frame: str, bos: Any) -> None:
    tok = tokenizer(Setting("byte", frame=frame))
    item = encode_text(base_with(tok, bos), "<s>[user] dax\n[assistant] ", "bird", "here")
    assert item.ids.count(0) == 1 and item.ids[0] == 0
    alone = encode_text(base_with(tok, bos), "", "<s>", "here")  # needs something to be predicted from
    assert alone.ids[-1] == 0 and len(alone.ids) >= 2 and alone.n_target == 1


def test_a_prefix_blank_does_not_stand_for_the_beginning_of_a_text() -> None:
    tok = tokenizer(Setting("byte", prefix=True, frame="bare"))
    assert encode_text(base_with(tok), "", "dax", "here").ids[0] == tok.bos_token_id


def test_a_tokenizer_that_cannot_spell_a_letter_keeps_its_beginning() -> None:
    tok = tokenizer(Setting("word", frame="bos"))
    assert encode_text(base_with(tok), "dax is", "bird", "here").ids == (0, 3, 5, 4)


def test_a_token_of_the_prompt_that_swallows_the_blanks_behind_it_is_no_part_of_the_target() -> None:
    from tokenizers import AddedToken

    tok = tokenizer(Setting("word"))
    tok.add_tokens([AddedToken("<ask>", rstrip=True, lstrip=True)])
    base = base_with(tok)
    alone = encode_text(base, "dax", "bird", "here").ids[-1]
    item = encode_text(base, "dax <ask>", "  bird", "here")
    assert item.ids[-2:] == (tok.convert_tokens_to_ids("<ask>"), alone) and item.n_target == 1
    assert encode_text(base, "dax", "<ask> bird", "here").n_target == 2
    with pytest.raises(InputError, match="turns into nothing"):
        encode_text(base, "dax <ask>", "\n", "here")


def test_a_tokenizer_with_nothing_to_begin_with_is_told() -> None:
    tok = _without_specials()
    with pytest.raises(InputError, match="neither a bos nor an eos token; expected a prompt for every sample"):
        encode_text(base_with(tok), "", "bird", "here")


def _without_specials() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tok = Tokenizer(models.WordLevel({"bird": 0, "dax": 1}, unk_token="dax"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tok)


BYTES = st.text(st.sampled_from("ab é東\n\t👍\u0301"), max_size=6)


@given(BYTES, BYTES.filter(str.strip))
def test_without_offsets_the_joining_blank_is_no_part_of_the_target(prompt: str, target: str) -> None:
    """ByT5's tokenizer is written in Python and says nothing of where its tokens stand."""
    from transformers import ByT5Tokenizer

    tok = ByT5Tokenizer()
    item = encode_text(base_with(tok), prompt, target, "here")
    assert item.n_target == len(target.encode())
    assert bytes(token - 3 for token in item.ids[-item.n_target :]) == target.encode()
    assert len(item.ids) - item.n_target == len(joined(prompt, target)[0].encode()) - len(target.encode()) or not prompt
    assert not prompt or tok.eos_token_id not in item.ids


class _Folding:
    """A tokenizer in Python that says neither where its tokens stand nor what was written: it folds case and blanks."""

    is_fast, bos_token_id, eos_token_id = False, None, 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in " ".join(text.lower().replace("▁", " ").split())]}

    def decode(self, ids: list[int], **_options: object) -> str:
        return "".join(map(chr, ids))


def test_without_offsets_and_without_the_text_tokens_are_held_against_the_prompts() -> None:
    base = base_with(_Folding())
    for prompt, target, count in [("Dax Is", "BIRD", 4), ("Dax  is ", "bird", 4), ("aaa", "AAA", 3), ("", "Bird", 4)]:
        assert encode_text(base, prompt, target, "here").n_target == count
    with pytest.raises(InputError, match="turns into nothing"):
        encode_text(base, "dax", " ", "here", join="")


@given(settings_of_all, st.lists(st.tuples(spelled, spelled.filter(str.strip)), max_size=5))
def test_texts_that_are_tokenized_together_become_what_each_is_alone(
    setting: Setting, texts: list[tuple[str, str]]
) -> None:
    base = base_with(tokenizer(setting))
    places = [f"row {row}" for row in range(len(texts))]
    try:
        alone = [encode_text(base, *each, where) for each, where in zip(texts, places, strict=True)]
    except InputError as error:
        with pytest.raises(InputError) as together:
            causal(base).encode_texts([(*each, None) for each in texts], places)
        assert str(together.value) == str(error)
    else:
        assert causal(base).encode_texts([(*each, None) for each in texts], places) == alone


def test_more_texts_than_a_tokenizer_gets_at_a_time_keep_their_order(gpt2: Base) -> None:
    samples = [
        Sample(name=str(row), prompt="dax has" if row % 3 else "wug is a", target="wings" if row % 2 else "bird")
        for row in range(AT_ONCE + 7)
    ]
    assert list(encode_all(gpt2, samples)) == [encode(gpt2, sample) for sample in samples]
