"""Tokenizers of every kind, made from settings: models, pre-tokenizers, prefixes, normalizers, special tokens."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from einfluence.models.base import Base, BaseInfo, Bos
from einfluence.objectives.causal_lm import CausalLM

LETTERS = "abcdeé\u0301東京한и\u1112\u1161\u11ab0123.,:()"  # what models of characters can spell, NFD as well
SPECIALS = ["<s>", "</s>", "<unk>"]
PIECES = ["ab", "abc", "ca", "01", "東京"]
NORMALIZERS: dict[str, Any] = {
    "none": None,
    "nfkc": normalizers.NFKC(),
    "lower": normalizers.Lowercase(),
    "nfd": normalizers.NFD(),
    "llama": normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    "strip": normalizers.Strip(),
}
FRAMES = {
    "bare": "$A",
    "bos": "<s> $A",
    "eos": "$A </s>",
    "both": "<s> $A </s>",
    "two": "<s> <unk> $A",
}


class Setting(NamedTuple):
    """How a tokenizer is built."""

    model: str = "byte"
    prefix: bool = False
    frame: str = "bos"
    normalizer: str = "none"


@cache
def tokenizer(setting: Setting) -> PreTrainedTokenizerFast:
    """The tokenizer of a setting, in memory."""
    tok = {"byte": _bytes, "meta": _metaspace, "unigram": _unigram, "wordpiece": _wordpiece, "word": _words}[
        setting.model
    ](setting.prefix)
    if NORMALIZERS[setting.normalizer] is not None and (setting.model, setting.normalizer) != ("wordpiece", "llama"):
        tok.normalizer = NORMALIZERS[setting.normalizer]
    tokens = [(token, tok.token_to_id(token)) for token in SPECIALS]
    if setting.frame != "bare":
        tok.post_processor = processors.TemplateProcessing(single=FRAMES[setting.frame], special_tokens=tokens)
    return PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def base_with(found: Any, bos: Bos = "auto") -> Base:
    """A base that has a tokenizer and nothing else."""
    return Base(BaseInfo("b", "b", "causal_lm", "", bos=bos), None, CausalLM(found, bos=bos))  # type: ignore[arg-type]


def _bytes(prefix: bool) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "b"), ("ab", "c"), ("Ġ", "a"), ("Ċ", "Ċ"), ("0", "1")]
    vocab = _numbered([*SPECIALS, *alphabet, *("".join(pair) for pair in merges)])
    tok = Tokenizer(models.BPE(vocab, merges))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tok.decoder = decoders.ByteLevel()
    return tok


def _metaspace(prefix: bool) -> Tokenizer:
    merges = [("a", "b"), ("ab", "c"), ("▁", "a"), ("0", "1")]
    vocab = _numbered([*SPECIALS, "▁", *LETTERS, *("".join(pair) for pair in merges)])
    tok = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>"))
    return _spaced(tok, prefix)


def _unigram(prefix: bool) -> Tokenizer:
    pieces = [*SPECIALS, "▁", *LETTERS, *PIECES, "▁a", "▁ab"]
    tok = Tokenizer(models.Unigram([(piece, -float(len(pieces)) + len(piece)) for piece in pieces], unk_id=2))
    return _spaced(tok, prefix)


def _spaced(tok: Tokenizer, prefix: bool) -> Tokenizer:
    scheme = "always" if prefix else "never"
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tok.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return tok


def _wordpiece(_prefix: bool) -> Tokenizer:
    pieces = [*LETTERS, *(f"##{letter}" for letter in LETTERS), *PIECES, *(f"##{piece}" for piece in PIECES)]
    tok = Tokenizer(models.WordPiece(_numbered([*SPECIALS, *pieces]), unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    tok.decoder = decoders.WordPiece(cleanup=False)
    return tok


def _words(_prefix: bool) -> Tokenizer:
    """A word tokenizer that has no "a", and passes over what it does not know."""
    tok = Tokenizer(models.WordLevel(_numbered([*SPECIALS, "dax", "bird", "is"])))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tok


def _numbered(pieces: list[str]) -> dict[str, int]:
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
