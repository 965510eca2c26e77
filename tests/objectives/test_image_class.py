"""Images and their classes, as the network takes them."""

from __future__ import annotations

import numpy as np
import pytest

from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.samples import Sample


def test_an_image_of_another_shape_or_class_is_told(digits_base: Base) -> None:
    with pytest.raises(InputError, match=r"\(1, 9, 8\)"):
        digits_base.objective.encode(Sample("a", pixels=np.zeros((1, 9, 8), np.float32), label=1), "x")
    with pytest.raises(InputError, match="a class from 0 to 9"):
        digits_base.objective.encode(Sample("a", pixels=np.zeros((1, 8, 8), np.float32), label=10), "x")
