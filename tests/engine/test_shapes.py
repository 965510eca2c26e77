"""Annotated shapes are checked while testing, and all of them can be read."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError
from torch import nn

import einfluence
from einfluence.engine.image.pooling import _pooled
from einfluence.engine.measurement import Scores
from einfluence.engine.outcomes import clip_gradients
from einfluence.engine.text.training_batch import TrainingBatch
from einfluence.objectives.encoders import logits_at
from tests.shapes import CHECKED


def annotated() -> Iterator[Any]:
    """All classes and functions of the checked modules, with methods and properties."""
    for found in pkgutil.walk_packages(einfluence.__path__, "einfluence."):
        module = importlib.import_module(found.name) if CHECKED.match(found.name) else None
        for value in vars(module).values() if module else ():
            if getattr(value, "__module__", "") != module.__name__:
                continue
            if inspect.isclass(value):
                yield value
                for own in vars(value).values():
                    own = own.fget if isinstance(own, property) else getattr(own, "__func__", own)
                    if inspect.isfunction(own) and own.__module__ == module.__name__:
                        yield own
            elif inspect.isfunction(value):
                yield value


def test_an_argument_of_another_shape_is_refused() -> None:
    gradients = [torch.ones(3, 2, 5), torch.ones(3, 4)]
    assert len(clip_gradients(gradients, torch.ones(3), 0.5)) == 2
    with pytest.raises(BeartypeCallHintViolation, match="parameter norms="):
        clip_gradients(gradients, torch.ones(2), 0.5)


def test_a_result_of_another_shape_is_refused() -> None:
    layer, images = nn.MaxPool2d(2, stride=1), torch.rand(3, 1, 4, 4)
    assert _pooled(layer, nn.MaxPool2d(2, stride=1), images).shape == (3, 1, 3, 3)
    with pytest.raises(BeartypeCallHintViolation, match='return "tensor'):
        _pooled(layer, torch.flatten, images)


def test_shapes_of_objectives_are_checked_too() -> None:
    logits = torch.rand(2, 5, 7)
    call = partial(SimpleNamespace, logits=logits)
    assert logits_at(call, {}, torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 7)
    with pytest.raises(BeartypeCallHintViolation, match="parameter places="):
        logits_at(call, {}, torch.zeros(2, 3))


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
    count = 0
    for each in annotated():
        hints = get_type_hints(inspect.unwrap(each), include_extras=True).values()
        named = sum("jaxtyping." in repr(hint) for hint in hints)
        assert not named or inspect.isclass(each) or hasattr(each, "__wrapped__"), each
        count += named
    assert count > 100
