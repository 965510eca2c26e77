"""Tests, whose first import has the engine check the shapes of its arrays."""

from tests import shapes

shapes.install()
