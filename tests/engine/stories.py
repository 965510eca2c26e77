"""Reads llama2.c's stories260K, a real trained Llama of 260,000 parameters, into transformers.

Its rotary embedding turns neighbouring pairs of numbers; transformers turns the two halves of a head, so the rows of
the query and key matrices change places.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
import transformers

from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import CausalLM


def stories_base(folder: Path) -> Base:
    """The trained model, in float32 and eval mode."""
    raw = (folder / "stories260K.bin").read_bytes()
    width, hidden, layers, heads, kv, vocabulary, context = struct.unpack("7i", raw[:28])
    values = np.frombuffer(raw, dtype=np.float32, offset=28)
    at = 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal at
        part = torch.from_numpy(values[at : at + int(np.prod(shape))].reshape(shape).copy())
        at += int(np.prod(shape))
        return part

    def halves(weight: torch.Tensor, count: int) -> torch.Tensor:
        return weight.view(count, width // heads // 2, 2, width).transpose(1, 2).reshape(-1, width)

    kv_width = width // heads * kv
    state = {"model.embed_tokens.weight": take(vocabulary, width)}
    shapes = {
        "input_layernorm": (width,),
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv_width, width),
        "self_attn.v_proj": (kv_width, width),
        "self_attn.o_proj": (width, width),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
        "mlp.up_proj": (hidden, width),
    }
    for name, shape in shapes.items():
        for layer, weight in enumerate(take(layers, *shape)):
            turned = {"self_attn.q_proj": heads, "self_attn.k_proj": kv}.get(name)
            state[f"model.layers.{layer}.{name}.weight"] = weight if turned is None else halves(weight, turned)
    state["model.norm.weight"] = take(width)
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=context, rms_norm_eps=1e-5,
        tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    missing, extra = model.load_state_dict(state, strict=False)
    assert not extra and set(missing) <= {"lm_head.weight"}
    return Base(
        BaseInfo("stories260K", "stories260K", "causal_lm", ""),
        model.requires_grad_(False),
        CausalLM(max_length=context),
    )


def encode(folder: Path, text: str) -> tuple[int, ...]:
    """Token ids with the beginning-of-text token, by the file's own merges: the best-scored neighbours first."""
    raw = (folder / "tok512.bin").read_bytes()
    scores: dict[str, tuple[float, int]] = {}
    at, index = 4, 0
    while at < len(raw):
        score, length = struct.unpack("fi", raw[at : at + 8])
        scores.setdefault(raw[at + 8 : at + 8 + length].decode("utf-8", "replace"), (score, index))
        at, index = at + 8 + length, index + 1
    pieces = list(" " + text)
    while True:
        pairs = [
            (scores[a + b][0], i) for i, (a, b) in enumerate(zip(pieces, pieces[1:], strict=False)) if a + b in scores
        ]
        if not pairs:
            return (1, *(scores[piece][1] for piece in pieces))
        _, i = max(pairs, key=lambda pair: (pair[0], -pair[1]))
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
