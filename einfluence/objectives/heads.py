"""Output layers: where they are, and fresh ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from einfluence.keys import content_hash

if TYPE_CHECKING:
    import torch


def last_with(model: torch.nn.Module, classes: int) -> torch.nn.Module | None:
    """A model's last Linear module that gives one number a class; None where it has none."""
    import torch

    linear = (module for module in reversed([*model.modules()]) if isinstance(module, torch.nn.Linear))
    return next((module for module in linear if module.out_features == classes), None)


def last_linear(model: torch.nn.Module) -> torch.nn.Module | None:
    """A model's last Linear module, in the order in which they are defined; None where it has none."""
    import torch

    return next((module for module in reversed([*model.modules()]) if isinstance(module, torch.nn.Linear)), None)


def output_layer(model: torch.nn.Module) -> torch.nn.Module | None:
    """What transformers calls the output embeddings, else the last Linear."""
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return last_linear(model) if output is None else output


def timm_classifier(model: torch.nn.Module) -> Any:
    """What timm calls the classifier of a model that transformers wraps: a layer or a tuple; None of any other."""
    wrapped: Any = getattr(model, "timm_model", None)
    return None if wrapped is None else wrapped.get_classifier()


def draw_head(model: Any, report: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Draws what stands outside a model's body anew, and a pooler that the files lack, from a seed alone.

    Matrices are normal with the deviation that the model's configuration has for it (else 0.02), biases 0, other
    vectors 1. Each is drawn by its name, so that no other changes it.

    Args:
        model: As transformers loaded it.
        report: What transformers says of missing, unexpected and mismatched tensors.
        seed: The seed.

    Returns:
        The report without what belongs to heads.
    """
    import torch

    body, own = f"{model.base_model_prefix}.", timm_classifier(model)
    head = next((f"{name}." for name, module in model.named_modules() if module is own), None)
    missing = {str(name) for name in report["missing_keys"]}

    def of_head(name: str) -> bool:
        if head is not None:  # timm has it within
            return name.startswith(head)
        return not name.startswith(body) or ("pooler" in name and name in missing)

    deviation = float(getattr(model.config, "initializer_range", None) or 0.02)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if of_head(name) and parameter.dim() > 1:
                draw = torch.Generator().manual_seed(int(content_hash(("head", seed, name)), 16) % 2**63)
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * deviation)
            elif of_head(name):
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return {
        "missing_keys": [name for name in missing if not of_head(name)],
        "unexpected_keys": [name for name in report["unexpected_keys"] if not of_head(str(name))],
        "mismatched_keys": [row for row in report["mismatched_keys"] if not of_head(str(row[0]))],
    }
