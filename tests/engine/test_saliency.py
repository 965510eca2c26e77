"""Word saliency against central differences in float64, of texts, encoder-decoders and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from einfluence.engine.definition import target_logprobs
from einfluence.engine.saliency import patches, saliency
from einfluence.errors import InputError
from einfluence.models.base import Base
from tests.engine.random_models import digits_like, image_base, images, text_base, texts


def by_differences(base: Base, item: Any, scaled: Callable[[float], Any]) -> float:
    """The derivative of a log-probability by a factor, of which the model knows while a handle lives."""
    step, found = 1e-5, []
    for sign in (1, -1):
        handle = scaled(1 + sign * step)
        with torch.no_grad():
            found.append(float(target_logprobs(base.objective, base.model, item).sum()))
        handle.remove()
    return (found[0] - found[1]) / (2 * step)


def test_it_is_the_derivative_by_a_factor_of_each_words_embedding() -> None:
    base = text_base("gpt2")
    base.model.double()
    before = [value.clone() for value in base.model.parameters()]
    for item in texts(4, 2):
        found = saliency(base, item)
        assert found.ids == item.ids[: len(found.ids)] and len(found.nats) == len(found.ids)

        def scaled(factor: float, place: int) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
                own = output.clone()
                own[:, place] *= factor
                return own

            return base.model.get_input_embeddings().register_forward_hook(hook)  # type: ignore[operator]

        wanted = [
            by_differences(base, item, lambda f, place=place: scaled(f, place)) for place in range(len(found.ids))
        ]
        assert found.nats.numpy() == pytest.approx(np.array(wanted), abs=1e-8)
        assert found.nats.abs().max() > 1e-3
    assert all(torch.equal(one, other) for one, other in zip(before, base.model.parameters(), strict=True))


def test_of_a_picture_it_is_the_derivative_by_a_factor_of_each_pixel() -> None:
    base = image_base(digits_like())
    base.model.double()
    [item] = images(3, 1)
    found = saliency(base, item)
    assert found.ids == () and found.nats.shape == item.pixels.shape[1:]

    def scaled(factor: float, row: int, column: int) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            own = inputs[0].clone()
            own[:, :, row, column] *= factor
            return (own, *inputs[1:])

        return base.model.register_forward_pre_hook(hook)

    for row, column in ((0, 0), (3, 4), (7, 7), (2, 5)):
        wanted = by_differences(base, item, lambda f, row=row, column=column: scaled(f, row, column))
        assert float(found.nats[row, column]) == pytest.approx(wanted, abs=1e-8)
    assert found.nats.abs().max() > 1e-3


def test_patches_add_up_and_the_last_may_be_smaller() -> None:
    found = patches(torch.arange(15.0, dtype=torch.float64).view(3, 5), 2)
    assert found.tolist() == [[0 + 1 + 5 + 6, 2 + 3 + 7 + 8, 4 + 9], [10 + 11, 12 + 13, 14]]


def test_a_model_that_reads_neither_words_nor_pixels_is_refused() -> None:
    base = text_base("gpt2")
    odd = Base(base.info, nn.Sequential(base.model), base.objective)
    with pytest.raises(InputError, match="without token embeddings"):
        saliency(odd, texts(4, 1)[0])
