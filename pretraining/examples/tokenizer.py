"""Tokenizers of the small models: every word of the world and of the tasks is one token, anything else is spelled."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from pretraining.language import LETTERS, SPECIALS, Language
from pretraining.tokenizer import word_pieces

BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
T5 = ("<pad>", "<unk>", "</s>")


def word_tokenizer(language: Language, words: Iterable[str], specials: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A tokenizer of lower-case words.

    Args:
        language: The world, whose words come first.
        words: More words.
        specials: :data:`BERT`, whose texts stand between [CLS] and [SEP], or :data:`T5`, whose texts end with </s>.
    """
    world = (word for word in language.words if word not in SPECIALS)
    ids = {word: index for index, word in enumerate(dict.fromkeys([*specials, *LETTERS, *world, *words]))}
    tokenizer = word_pieces(ids, specials[1])
    around = "[CLS] $A [SEP]" if specials is BERT else "$A </s>"
    marks = [(word, ids[word]) for word in around.split() if word in ids]
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=marks)
    names = {"pad_token": specials[0], "unk_token": specials[1]}
    if specials is BERT:
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    else:
        names |= {"eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **names,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=64,
    )
