"""What people would write by hand: one model, one probe, plain torch and peft. It shares no code with the engines."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

Text = tuple[tuple[int, ...], int]  # token ids, and how many of the last are the target
BLOCKS = r"(?:^|\.)(?:layers|layer|h|block|blocks|attentions|ffns)\.(\d+)\."


@dataclass
class Loop:
    """Trains copies of a model on one probe after the other.

    Args:
        model: Left as it is.
        trains: Whether a parameter of this name is trained; None for LoRA.
        lora: peft's arguments.
        only: Blocks that an adapter may stand in.
        optimizer: Called with parameters.
        steps: For each stage.
        clip: Largest norm of a gradient.
        before: (Q,) nats of the queries before training, where they are known.
    """

    model: nn.Module
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
    trains: Callable[[str], bool] | None = None
    lora: dict[str, Any] = field(default_factory=dict)
    only: tuple[int, ...] | None = None
    steps: int = 2
    clip: float | None = None
    before: np.ndarray | None = None

    def influences(self, probes: Sequence[tuple[str, Sequence[Text]]], queries: Sequence[Text]) -> np.ndarray:
        """(N, Q) nats; a probe is a kind (``together`` or ``in turn``) and its texts."""
        before = asked(doubled(self.model), queries) if self.before is None else self.before
        model = self._prepared()
        values = {name: value for name, value in model.named_parameters() if value.requires_grad}
        logprobs(model, queries[0])  # some models change their weights when they are first run
        start = {name: value.detach().clone() for name, value in values.items()}
        rows: list[np.ndarray] = []
        for kind, texts in probes:
            with torch.no_grad():
                for name, value in values.items():
                    value.copy_(start[name])
            for stage in [[text] for text in texts] if kind == "sequential" else [list(texts)]:
                self._train(model, list(values.values()), stage)
            rows.append(asked(model, queries) - before)
        return np.array(rows)

    def _train(self, model: nn.Module, values: list[nn.Parameter], texts: list[Text]) -> None:
        optimizer = self.optimizer(values)
        for _ in range(self.steps):
            optimizer.zero_grad(set_to_none=True)
            (-torch.cat([logprobs(model, text) for text in texts]).mean()).backward()
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(values, self.clip)
            optimizer.step()

    def _prepared(self) -> nn.Module:
        model = doubled(self.model)
        if self.trains is not None:
            for name, value in model.named_parameters():
                value.requires_grad_(self.trains(name))
            return model
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wrapped: Any = get_peft_model(model, LoraConfig(lora_dropout=0.0, **self.lora))
        for name, value in wrapped.named_parameters():
            if value.requires_grad and self.only is not None:
                found = re.search(BLOCKS, name)
                value.requires_grad_(found is not None and int(found[1]) in self.only)
        return wrapped.eval()


def doubled(model: nn.Module) -> Any:
    """A copy in float64; products over all experts at once know no such numbers."""
    twin: Any = copy.deepcopy(model).double().eval().requires_grad_(False)
    if twin._can_set_experts_implementation():
        twin.set_experts_implementation("eager")
    return twin


@torch.no_grad()
def asked(model: Any, queries: Sequence[Text]) -> np.ndarray:
    """(Q,) nats of the targets; texts of equal length are rows of one batch, so that none has to be filled up."""
    found = np.zeros(len(queries))
    for length in {len(ids) for ids, _ in queries}:
        rows = [i for i, (ids, _) in enumerate(queries) if len(ids) == length]
        tokens = torch.tensor([queries[i][0] for i in rows])
        said = model(input_ids=tokens, use_cache=False).logits.double().log_softmax(-1)
        for i, ids, each in zip(rows, tokens, said, strict=True):
            first = length - queries[i][1]
            found[i] = each[first - 1 : -1].gather(-1, ids[first:, None]).sum()
    return found


def logprobs(model: Any, text: Text) -> torch.Tensor:
    """Log-probability of each token of the target."""
    ids, target = text
    tokens = torch.tensor([ids])
    logits = model(input_ids=tokens, use_cache=False).logits[0].double()
    rows = logits[len(ids) - target - 1 : len(ids) - 1]
    return -nn.functional.cross_entropy(rows, tokens[0, -target:], reduction="none")


def products(model: Any) -> list[str]:
    """Names of the products with a weight that a text passes, but for the output layer and what peft forbids."""
    called: set[nn.Module] = set()
    twin = copy.deepcopy(model)
    head = twin.get_output_embeddings()
    hooks = [
        m.register_forward_hook(lambda module, _, out: called.add(module) if torch.is_tensor(out) else None)
        for m in twin.modules()
    ]
    with torch.no_grad():
        twin(input_ids=torch.tensor([[3, 4, 5, 6, 7, 8]]), use_cache=False)
    for hook in hooks:
        hook.remove()
    barred = ("out_proj",) if re.search("mamba|falcon_h1|nemotron_h", model.config.model_type) else ()
    return [
        name
        for name, module in twin.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module in called and module is not head
        if not (name.endswith(barred) and model.config.model_type != "zamba2")
    ]
