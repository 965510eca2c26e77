"""Tiny random models of many architectures, and random texts and images for them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from einfluence.engine.measurement import ImageItem, TextItem
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import CausalLM
from einfluence.objectives.image_class import ImageClass

VOCABULARY = 61

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_GROUPED = {**_SHAPE, "num_key_value_heads": 2}
_GEMMA = {**_GROUPED, "head_dim": 8, "sliding_window": 5}
_TOKENS = {key: _SHAPE[key] for key in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GROUPED),
    "llama-tied": ("LlamaConfig", {**_GROUPED, "tie_word_embeddings": True}),
    "phi3": ("Phi3Config", {**_SHAPE, "num_key_value_heads": 4}),
    "qwen2": ("Qwen2Config", _GROUPED),
    "qwen3": ("Qwen3Config", {**_GROUPED, "head_dim": 8}),
    "mistral-window": ("MistralConfig", {**_GROUPED, "sliding_window": 6}),
    "gpt-neox": ("GPTNeoXConfig", {**_SHAPE, "tie_word_embeddings": False}),
    "gpt2": ("GPT2Config", {**_TOKENS, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}),
    "gemma2": ("Gemma2Config", _GEMMA),
    "gemma3": ("Gemma3TextConfig", _GEMMA),
    "opt": ("OPTConfig", {**_SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.1}),
    "bloom": ("BloomConfig", {**_TOKENS, "hidden_size": 32, "n_layer": 3, "n_head": 4}),
}  # fmt: skip

# What transformers computes in float64 throughout; the others pass through float32 in a norm or a softmax.
FULL_PRECISION = ("gpt2", "gpt-neox", "opt")


@torch.no_grad()
def scatter(model: torch.nn.Module) -> None:
    """Draws weights large enough that influence is well above rounding."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, 0.2)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))


def text_base(name: str, seed: int = 0) -> Base:
    """A random causal LM in eval mode, weights large enough that influence is well above rounding."""
    kind, shape = CONFIGS[name]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, kind)(**shape)).eval()
        scatter(model)
    return Base(BaseInfo(f"{name}-{seed}", name, "causal_lm", ""), model.requires_grad_(False), CausalLM(max_length=64))


def texts(seed: int, count: int, opening: tuple[int, ...] = (), low: int = 3, high: int = 8) -> list[TextItem]:
    """Texts of ``low`` to ``high`` random tokens after ``opening``, one or two of them the target."""
    draw = np.random.default_rng(seed)
    made: list[TextItem] = []
    for _ in range(count):
        tokens = draw.integers(3, VOCABULARY, int(draw.integers(low, high + 1)))
        made.append(TextItem((*opening, *(int(token) for token in tokens)), int(draw.integers(1, 3))))
    return made


def digits_like() -> nn.Module:
    """A small classifier of 8 x 8 images."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip


class Odd(nn.Module):
    """Every layer type that can be stacked, with strides, groups, dilation and padding of all kinds; not Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 8, 3, padding=2, dilation=2, groups=2)
        self.group_norm = nn.GroupNorm(2, 8)
        self.around = nn.Conv2d(8, 8, 2, padding=1, padding_mode="circular")
        self.wide = nn.Conv2d(8, 8, (1, 3), padding="same")
        self.hidden = nn.Linear(200, 20)
        self.layer_norm = nn.LayerNorm(20)
        self.head = nn.Linear(20, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        x = torch.nn.functional.gelu(self.group_norm(self.grouped(x)))
        x = self.around(x)
        x = (x + self.wide(x)).flatten(1)
        return self.head(self.layer_norm(self.hidden(x)).tanh())


def image_base(model: nn.Module, seed: int = 0) -> Base:
    """A random image classifier in eval mode."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
    info = BaseInfo(type(model).__name__, "random classifier", "image_class", "")
    return Base(info, model.eval().requires_grad_(False), ImageClass((1, 8, 8), 10))


def images(seed: int, count: int) -> list[ImageItem]:
    """Random 8 x 8 images with random labels."""
    draw = np.random.default_rng(seed)
    return [ImageItem(draw.random((1, 8, 8)).astype(np.float32), int(draw.integers(10))) for _ in range(count)]
