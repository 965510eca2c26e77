"""Tests, whose first import has engines, objectives and the rows of a block check the shapes of their arrays."""

from tests import shapes

shapes.install()
