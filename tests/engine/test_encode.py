from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from einfluence.engine.encode import encode_image, encode_text, joined
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.models.load import find_base, load_base


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
    assert gpt2.tokenizer.decode(item.ids[-item.n_target :]) == "wings big"
    assert len(item.ids) == 4


def test_an_empty_prompt_gets_a_token_to_start_from(gpt2: Base) -> None:
    item = encode_text(gpt2, "", "gold", "here")
    assert item.ids == (gpt2.tokenizer.bos_token_id, gpt2.tokenizer.convert_tokens_to_ids("gold"))
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
    assert len(base.tokenizer) == (base.vocabulary or 0) + 1
    assert encode_text(base, "dax is", "bird", "s.jsonl:3").n_target == 1
    for prompt, target in (("dax is", "zorp"), ("zorp is", "bird")):
        with pytest.raises(InputError, match=r"s.jsonl:4: found tokens that the model does not have: 'zorp' \(23\)"):
            encode_text(base, prompt, target, "s.jsonl:4")


def test_an_image_of_another_shape_or_class_is_told(digits_base: Base) -> None:
    import numpy as np

    with pytest.raises(InputError, match=r"\(1, 9, 8\)"):
        encode_image(digits_base, np.zeros((1, 9, 8), np.float32), 1, "x")
    with pytest.raises(InputError, match="a class from 0 to 9"):
        encode_image(digits_base, np.zeros((1, 8, 8), np.float32), 10, "x")
