"""Where the tests of engines on a GPU run: on the GPU, or where EINFLUENCE_TEST_DEVICE says, or not at all."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    """``cuda``, or what the environment variable names: on the CPU the tests say whether they themselves are right."""
    named = os.environ.get("EINFLUENCE_TEST_DEVICE")
    if named:
        return named
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here (EINFLUENCE_TEST_DEVICE=cpu tries these tests on the CPU)")
    return "cuda"
