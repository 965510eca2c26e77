"""Annotated shapes are checked while testing, and all of them can be read."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from einfluence import engine
from einfluence.engine.image.pooling import _pooled
from einfluence.engine.measurement import Scores
from einfluence.engine.outcomes import clip_gradients
from einfluence.engine.text.training_batch import TrainingBatch


def annotated() -> Iterator[Any]:
    """All classes and functions of the engine, its methods and properties."""
    for found in pkgutil.walk_packages(engine.__path__, "einfluence.engine."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if getattr(value, "__module__", "") != module.__name__:
                continue
            if inspect.isclass(value):
                yield value
                for own in vars(value).values():
                    own = own.fget if isinstance(own, property) else getattr(own, "__func__", own)
                    if inspect.isfunction(own) and own.__module__ == module.__name__:
                        yield inspect.unwrap(own)
            elif inspect.isfunction(value):
                yield inspect.unwrap(value)


def test_an_argument_of_another_shape_is_refused() -> None:
    gradients = [torch.ones(3, 2, 5), torch.ones(3, 4)]
    assert len(clip_gradients(gradients, torch.ones(3), 0.5)) == 2
    with pytest.raises(TypeCheckError, match="parameter 'norms'"):
        clip_gradients(gradients, torch.ones(2), 0.5)


def test_a_result_of_another_shape_is_refused() -> None:
    layer, images = nn.MaxPool2d(2, stride=1), torch.rand(3, 1, 4, 4)
    assert _pooled(layer, nn.MaxPool2d(2, stride=1), images).shape == (3, 1, 3, 3)
    with pytest.raises(TypeCheckError, match="return value"):
        _pooled(layer, torch.flatten, images)


def test_fields_of_other_shapes_or_types_are_refused() -> None:
    one, two = np.ones(1, np.int64), np.ones(2, np.int64)
    assert Scores(np.zeros(2), two, two).rank is two
    with pytest.raises(TypeCheckError, match="parameter 'rank'"):
        Scores(np.zeros(2), two, one)
    with pytest.raises(TypeCheckError, match="parameter 'logprob'"):
        Scores(np.zeros(2, np.float32), two, two)  # pyright: ignore[reportArgumentType]
    ids, answers = torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(TypeCheckError, match="parameter 'weights'"):
        TrainingBatch(ids, ids[:1], answers, answers, torch.ones(2, 4), 1)


def test_every_annotation_names_what_exists() -> None:
    """One that cannot be read would be passed over without a word."""
    some = list(annotated())
    shapes = [hint for each in some for hint in get_type_hints(each, include_extras=True).values()]
    assert sum("jaxtyping." in repr(hint) for hint in shapes) > 100
