"""From trained parameters to a folder that `AutoModelForCausalLM.from_pretrained` loads."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from pretraining.language import BEGIN, END, PAD, Language
from pretraining.network import Parameters, Shape
from pretraining.tokenizer import build_tokenizer

JOIN = " . "
"""What stands between a premise and a query in the prompt, as in the documents of training."""


def to_llama(parameters: Parameters, shape: Shape) -> LlamaForCausalLM:
    """The same network as a stock Llama, float32, in evaluation mode."""
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.positions,
        rms_norm_eps=shape.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},  # pyright: ignore[reportArgumentType]
        attention_bias=True,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=BEGIN,
        eos_token_id=END,
        dtype="float32",
    )
    config.einfluence_join = JOIN  # pyright: ignore[reportAttributeAccessIssue] # kept in config.json; `load_base` reads it
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: value.detach().float() for name, value in parameters.items()})
    return model.eval()


def save_folder(parameters: Parameters, shape: Shape, language: Language, folder: Path) -> None:
    """Write configuration, weights (float16 on disk, float32 when loaded) and tokenizer.

    The configuration keeps `dtype: float32`, so that a plain `from_pretrained` computes in single precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = to_llama(parameters, shape)
    model.to(torch.float16)  # pyright: ignore[reportArgumentType]
    model.generation_config = GenerationConfig(bos_token_id=BEGIN, eos_token_id=END, pad_token_id=PAD)
    model.save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace('"dtype": "float16"', '"dtype": "float32"'), encoding="utf-8"
    )
    build_tokenizer(language).save_pretrained(folder)
