"""The tokenizer of a world: every word one token, anything else spelled letter by letter."""

from __future__ import annotations

from collections.abc import Mapping

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from pretraining.language import BEGIN, SPECIALS, Language


def word_pieces(ids: Mapping[str, int], unknown: str) -> Tokenizer:
    """Splits lower-cased text at spaces and punctuation, and words that are not known into pieces that are."""
    tokenizer = Tokenizer(models.WordPiece(vocab=dict(ids), unk_token=unknown, continuing_subword_prefix="##"))  # type: ignore[call-arg]
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return tokenizer


def build_tokenizer(language: Language) -> PreTrainedTokenizerFast:
    """A tokenizer with the ids of `world.words`.

    Text is lower-cased and split at spaces and punctuation. A word of the vocabulary is one token; another is written
    as the longest known beginning and then letter by letter (`##x`), so any name can be written. `<bos>` opens every
    text that is encoded with special tokens.
    """
    tokenizer = word_pieces(language.ids, "<unk>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", BEGIN)]
    )
    pad, unknown, begin, end = SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unknown,
        bos_token=begin,
        eos_token=end,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )
