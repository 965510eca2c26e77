"""A fast functional twin of `LlamaForCausalLM`, for training small models on a CPU.

Parameters live in a plain dict under the names of the Hugging Face state dict, so exporting is saving. The forward
pass is written out because the gains are in its details: bfloat16 matrix products, whole short documents in a batch
(attention as two batched products, with no mask but the causal one) and logits at the supervised positions only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; `rope_theta` is small because documents are short."""

    vocabulary: int
    layers: int = 4
    hidden: int = 256
    heads: int = 4
    head_dim: int = 64
    intermediate: int = 512
    rope_theta: float = 10000.0
    positions: int = 256
    epsilon: float = 1e-6

    def parameters(self) -> int:
        """Number of parameters; the output matrix is not tied to the embedding."""
        attention = 4 * self.hidden * self.heads * self.head_dim + 3 * self.heads * self.head_dim + self.hidden
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return 2 * self.vocabulary * self.hidden + self.layers * layer + self.hidden


def initialise(shape: Shape, seed: int, previous: tuple[int, ...] = (1, 2, 3, 4)) -> Parameters:
    """Draw parameters such that binding in context is learned early.

    Embeddings have unit scale, so that what a token *is* outweighs what the layers add at first; output projections
    are small; and attention of the lower layers is wired for it (`_wire`), with heads that look `previous[h]`
    positions back.

    Returns:
        Float32 tensors by their Hugging Face names.
    """
    draw = torch.Generator().manual_seed(seed)

    def normal(rows: int, columns: int, scale: float) -> Tensor:
        return torch.randn(rows, columns, generator=draw) * scale

    width, inner = shape.hidden, shape.heads * shape.head_dim
    parameters: Parameters = {"model.embed_tokens.weight": normal(shape.vocabulary, width, 1.0)}
    for layer in range(shape.layers):
        at = f"model.layers.{layer}."
        parameters[at + "input_layernorm.weight"] = torch.ones(width)
        parameters[at + "post_attention_layernorm.weight"] = torch.ones(width)
        for name in "qkv":
            parameters[at + f"self_attn.{name}_proj.weight"] = normal(inner, width, 1 / math.sqrt(width))
            parameters[at + f"self_attn.{name}_proj.bias"] = torch.zeros(inner)
        parameters[at + "self_attn.o_proj.weight"] = normal(width, inner, 0.5 / math.sqrt(inner))
        parameters[at + "self_attn.o_proj.bias"] = torch.zeros(width)
        for name in ("gate", "up"):
            parameters[at + f"mlp.{name}_proj.weight"] = normal(shape.intermediate, width, 1 / math.sqrt(width))
        parameters[at + "mlp.down_proj.weight"] = normal(
            width, shape.intermediate, 0.25 / math.sqrt(shape.intermediate)
        )
    parameters["model.norm.weight"] = torch.ones(width)
    # Tied to unit-scale embeddings, the output would start by repeating every token.
    parameters["lm_head.weight"] = normal(shape.vocabulary, width, 0.02)
    _wire(parameters, shape, previous, draw)
    return parameters


def _wire(parameters: Parameters, shape: Shape, previous: tuple[int, ...], draw: torch.Generator) -> None:
    """Lay the first layers out for binding: what stood before me, where did that stand before, what followed it.

    Heads of layer 0 look a fixed number of positions back and all write the same code of what they see into the same
    subspace, which the embeddings leave free. Heads of layer 1 compare those codes and copy the token that they find
    into another free subspace, from which the output matrix reads; heads of layer 2 do the same for what layer 1 has
    found.
    """
    width, size = shape.hidden, shape.head_dim
    code, copied = torch.linalg.qr(torch.randn(width, 2 * size, generator=draw))[0].split(size, dim=1)
    read = torch.linalg.qr(torch.randn(width, size, generator=draw))[0].T * math.sqrt(width / size)
    embeddings = parameters["model.embed_tokens.weight"]
    embeddings -= embeddings @ code @ code.T + embeddings @ copied @ copied.T
    parameters["lm_head.weight"] += 0.05 * embeddings @ read.T @ copied.T
    first = "model.layers.0.self_attn."
    for head, offset in enumerate(previous[: shape.heads]):
        rows = slice(head * size, (head + 1) * size)
        _look_back(parameters, shape, rows, offset)
        parameters[first + "v_proj.weight"][rows] = read / math.sqrt(width / size)
        parameters[first + "o_proj.weight"][:, rows] = code
    if shape.layers < 2:
        return
    # Only slowly turning coordinates survive the rotary embedding over a document's length.
    slow = torch.arange(size // 2) * math.log(shape.rope_theta) / (size // 2) > math.log(30.0)
    keep = torch.cat([slow, slow]).float()[:, None]
    read_token, read_code, read_copy = read / math.sqrt(width / size), code.T, copied.T
    # (layer, head): what the query asks with, what the key offers, what is copied. Queries and keys are in one code.
    found = {(1, 0): (read_code, read_code, read_token), (1, 1): (read_code, read_code, read_token)}
    found[1, 2] = (
        read_code,
        read_token,
        read_code,
    )  # the other way round: what stood before the place where that stood
    found[2, 0] = found[2, 1] = (read_copy, read_code, read_token)  # the second hop, from what the first one found
    for (layer, head), (query, key, value) in found.items():
        if layer >= shape.layers:
            continue
        rows = slice(head * size, (head + 1) * size)
        at = f"model.layers.{layer}.self_attn."
        parameters[at + "q_proj.weight"][rows] = query * keep * 1.5
        parameters[at + "k_proj.weight"][rows] = key * keep * 1.5
        parameters[at + "v_proj.weight"][rows] = value
        parameters[at + "o_proj.weight"][:, rows] = copied


def _look_back(parameters: Parameters, shape: Shape, rows: slice, offset: int, strength: float = 12.0) -> None:
    """Make one head of the first layer attend `offset` positions back, whatever the tokens are.

    The biases of query and key are constant vectors; rotary embedding turns their product into sum cos(θ (distance −
    offset)), which peaks at the wanted distance when the query's vector is the key's turned by −offset.
    """
    half = shape.head_dim // 2
    angles = -offset * shape.rope_theta ** (-torch.arange(half) / half)
    at = "model.layers.0.self_attn."
    scale = math.sqrt(strength * math.sqrt(shape.head_dim) / 8)
    parameters[at + "q_proj.weight"][rows] *= 0.1
    parameters[at + "k_proj.weight"][rows] *= 0.1
    parameters[at + "k_proj.bias"][rows] = scale * torch.cat([torch.ones(half), torch.zeros(half)])
    parameters[at + "q_proj.bias"][rows] = scale * torch.cat([angles.cos(), angles.sin()])


def hidden_states(parameters: Parameters, shape: Shape, ids: Tensor) -> Tensor:
    """Hidden states after the last norm, of right-padded documents `ids` [batch, time], in the parameters' dtype."""
    batch, time = ids.shape
    x = F.embedding(ids, parameters["model.embed_tokens.weight"])
    half = shape.head_dim // 2
    frequencies = shape.rope_theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(time, dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    causal = torch.full((time, time), float("-inf")).triu(1)

    def norm(value: Tensor, name: str) -> Tensor:
        wide = value.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + shape.epsilon)
        return wide.to(value.dtype) * parameters[name]

    def heads(value: Tensor) -> Tensor:
        return value.view(batch, time, shape.heads, shape.head_dim).transpose(1, 2)

    def rotate(value: Tensor) -> Tensor:
        first, second = value[..., :half], value[..., half:]
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)

    for layer in range(shape.layers):
        at = f"model.layers.{layer}."

        def linear(value: Tensor, name: str, at: str = at) -> Tensor:
            return F.linear(value, parameters[f"{at}{name}.weight"], parameters.get(f"{at}{name}.bias"))

        y = norm(x, at + "input_layernorm.weight")
        q, k, v = (heads(linear(y, f"self_attn.{name}_proj")) for name in "qkv")
        scores = (rotate(q) @ rotate(k).transpose(2, 3)).float() / math.sqrt(shape.head_dim) + causal
        mixed = scores.softmax(-1).to(x.dtype) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(batch, time, -1), "self_attn.o_proj")
        y = norm(x, at + "post_attention_layernorm.weight")
        x = x + linear(F.silu(linear(y, "mlp.gate_proj")) * linear(y, "mlp.up_proj"), "mlp.down_proj")
    return norm(x, "model.norm.weight")


def answer_loss(
    parameters: Parameters, shape: Shape, ids: Tensor, at: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each supervised token and the predicted tokens.

    Args:
        parameters: of the network, bfloat16 or float32.
        shape: its sizes.
        ids: [batch, time] token ids.
        at: [n] flat indices into batch × time of the positions that predict.
        targets: [n] the tokens to be predicted there.
    """
    states = hidden_states(parameters, shape, ids).flatten(0, 1).index_select(0, at)
    logits = F.linear(states, parameters["lm_head.weight"]).float()
    return F.cross_entropy(logits, targets, reduction="none"), logits.detach().argmax(-1)
