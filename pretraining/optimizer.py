"""Muon for the hidden matrices beside AdamW for the rest: what made binding in context learnable in minutes.

Muon moves each matrix by an orthogonalised momentum, so that rare directions learn as fast as common ones (K. Jordan
et al., "Muon: An optimizer for hidden layers in neural networks", 2024). Matrices of one shape are orthogonalised
together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretraining.network import Parameters


class Optimizer:
    """Keeps the momenta of both rules; `state` and `load` carry them over a restart as plain tensors."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.step_count = 0
        self._state: Parameters = {}
        self._shapes: dict[tuple[int, ...], list[str]] = {}
        self._rest: list[str] = []
        for name, value in sorted(parameters.items()):  # one order of sums, however the parameters were made
            if ".layers." in name and value.ndim == 2:
                self._shapes.setdefault(tuple(sorted(value.shape, reverse=True)), []).append(name)
                self._state[f"momentum.{name}"] = torch.zeros_like(value)
            else:
                self._rest.append(name)
                self._state[f"mean.{name}"] = torch.zeros_like(value)
                self._state[f"square.{name}"] = torch.zeros_like(value)

    @torch.no_grad()
    def step(self, gradients: Parameters, muon_rate: float, adam_rate: float, decay: float = 0.02) -> None:
        """Move every parameter once; gradients are clipped to norm 1 for AdamW's part (Muon ignores their scale)."""
        self.step_count += 1
        for shape, names in self._shapes.items():
            self._muon(shape, names, gradients, muon_rate, decay)
        norm = torch.stack([gradients[name].norm() for name in self._rest]).norm()
        clip = min(1.0, 1.0 / (float(norm) + 1e-6))
        first, second = 1 - 0.9**self.step_count, 1 - 0.95**self.step_count
        for name in self._rest:
            gradient = gradients[name] * clip
            mean, square = self._state[f"mean.{name}"], self._state[f"square.{name}"]
            mean.lerp_(gradient, 0.1)
            square.lerp_(gradient.square(), 0.05)
            self.parameters[name].addcdiv_(mean / first, (square / second).sqrt_().add_(1e-8), value=-adam_rate)

    def _muon(self, shape: tuple[int, ...], names: list[str], gradients: Parameters, rate: float, decay: float) -> None:
        updates: list[Tensor] = []
        for name in names:
            momentum = self._state[f"momentum.{name}"]
            momentum.lerp_(gradients[name], 0.05)
            update = gradients[name].lerp(momentum, 0.95)
            updates.append(update if update.shape == shape else update.T)
        orthogonal = _orthogonalise(torch.stack(updates))
        for name, update in zip(names, orthogonal, strict=True):
            value = self.parameters[name]
            turned = update if value.shape == shape else update.T
            scale = max(1.0, value.shape[0] / value.shape[1]) ** 0.5
            value.mul_(1 - rate * decay).add_(turned, alpha=-rate * scale)

    def state(self) -> Parameters:
        """Momenta by name."""
        return dict(self._state)

    def load(self, state: Parameters, step_count: int) -> None:
        """Continue from a state saved for the same parameters."""
        if state.keys() != self._state.keys():
            raise ValueError("the optimizer's state was saved for other parameters; start the run in a new folder")
        self._state = {name: value.clone() for name, value in state.items()}
        self.step_count = step_count


def _orthogonalise(matrices: Tensor) -> Tensor:
    """Nearest orthogonal matrices of tall `matrices` [n, rows, columns]: five Newton–Schulz steps in bfloat16."""
    x = matrices.bfloat16().transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.transpose(1, 2).float()
