"""Products of vectors with the second derivatives of a mean loss, or with its Gauss-Newton matrix, never laid out.

A Hessian's product with a vector is the derivative of the gradient along it (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"). The Gauss-Newton matrix Jᵀ (diag(p) - p pᵀ) J, J the derivative of the logits, is the
Fisher matrix of the model and never negative; J times a vector is a derivative of Jᵀ times a vector, which is linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from einfluence.engine.gradients.collector import batches
from einfluence.engine.gradients.definition import Point, batch_logprobs
from einfluence.engine.measurement import Item
from einfluence.models.base import Batch

Kind = Literal["hessian", "gauss_newton"]


class Curvature:
    """The curvature C of the mean over samples of their mean losses, plus a multiple of the identity.

    Args:
        point: Where it is taken.
        items: The samples.
        kind: Second derivatives as they are, or the Gauss-Newton matrix.
        added: What is added to its diagonal; a number, or one for each parameter element, (p,).
    """

    def __init__(
        self, point: Point, items: Sequence[Item], kind: Kind, added: float | Float[npt.NDArray[np.float64], " p"] = 0.0
    ) -> None:
        self.point, self.items, self.kind, self.added = point, items, kind, added
        self.parameters = list(point.trained.values())
        self.sizes = [value.numel() for value in self.parameters]
        self.lots = [[items[i] for i in some] for some in batches(items)]

    def product(self, vector: npt.NDArray[Any]) -> Float[npt.NDArray[np.float64], " p"]:
        """(C + added) times a vector, parameters in one row, in the order of the point's."""
        like = self.parameters[0]
        whole = torch.as_tensor(vector.reshape(-1)).to(like)
        parts = [part.view_as(p) for part, p in zip(whole.split(self.sizes), self.parameters, strict=True)]
        total = torch.zeros_like(whole, dtype=torch.float64)
        for some in self.lots:
            total += torch.cat([found.flatten() for found in self._of_batch(some, parts)])
        return total.cpu().numpy() + self.added * np.asarray(vector, np.float64).reshape(-1)

    def _of_batch(self, items: Sequence[Item], parts: Sequence[Tensor]) -> Sequence[Tensor]:
        base, model = self.point.base, self.point.model
        like = self.parameters[0]
        batch = base.objective.collate(items).to(like.device, like.dtype)
        share = torch.tensor([1 / (item.n_target * len(self.items)) for item in items]).to(like)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
            logits = base.objective.logits(model, batch)
            if self.kind == "hessian":
                return self._second(logits, batch, share, parts)
            return self._gauss_newton(logits, batch, share, parts)

    def _second(self, logits: Tensor, batch: Batch, share: Tensor, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        loss = -(batch_logprobs(logits, batch.targets, batch.counts) * share).sum()
        gradients = _derivatives(loss, self.parameters, create_graph=True)
        return _derivatives(sum(((g * v).sum() for g, v in zip(gradients, parts, strict=True))), self.parameters)

    def _gauss_newton(self, logits: Tensor, batch: Batch, share: Tensor, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        along = torch.zeros_like(logits, requires_grad=True)
        back = _derivatives(logits, self.parameters, along, create_graph=True)
        [moved] = _derivatives(sum(((g * v).sum() for g, v in zip(back, parts, strict=True))), [along])
        chance = logits.detach().softmax(-1)
        turned = chance * (moved - (chance * moved).sum(-1, keepdim=True)) * share[:, None, None]
        return _derivatives(logits, self.parameters, torch.where(batch.counts[..., None], turned, 0.0))


def _derivatives(
    of: Any, by: Sequence[Tensor], along: Tensor | None = None, *, create_graph: bool = False
) -> Sequence[Tensor]:
    """Zeros where nothing depends on a tensor, or nothing that can be differentiated once more."""
    if not of.requires_grad:
        return [torch.zeros_like(value) for value in by]
    return torch.autograd.grad(
        of, by, along, create_graph=create_graph, retain_graph=True, allow_unused=True, materialize_grads=True
    )


def unstacked(vectors: Float[Tensor, "k p"], point: Point) -> Mapping[str, Float[Tensor, "k ..."]]:
    """Rows of all parameters as those of each."""
    sizes = [value.numel() for value in point.trained.values()]
    parts = zip(point.trained.items(), vectors.split(sizes, 1), strict=True)
    return {name: part.reshape(len(vectors), *value.shape) for (name, value), part in parts}
