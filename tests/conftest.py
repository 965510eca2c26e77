"""Tiny real models and stores for all tests; everything random is seeded, nothing leaves the machine."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from einfluence.bases.load import find_base, load_base
from einfluence.engine import merged_reading
from einfluence.models.base import Base
from einfluence.spec import Spec
from einfluence.store.store import Store

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)
gc.disable()  # until all tests are collected: nothing that imports make is garbage

WORDS = "the a is not of in has owns dax wug blick bird fish town wings fins gold king red big small".split()
RealData = Callable[[str], Path]


def pytest_collection_finish() -> None:
    """What is there now stays, so that no search for garbage goes through it again."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """Modules are taken down as ever."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the test run's own, so that the user's is neither read nor written."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["EINFLUENCE_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _recorded() -> None:
    """Operations are recorded at once, which would not be worth while for as few trainings as most tests have."""
    merged_reading.REPAID = 1


@pytest.fixture(scope="session")
def digits_base(cache: Path) -> Base:
    """The embedded image base, trained anew (seconds)."""
    return load_base(find_base("embedded:digits", "test"))


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of two layers with a word tokenizer, saved as the hub would have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("gpt2")
    vocabulary = {word: index for index, word in enumerate(["<bos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocabulary), n_positions=24, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def gpt2(gpt2_folder: Path) -> Base:
    """The random GPT-2, loaded."""
    return load_base(find_base(str(gpt2_folder), "test"))


@pytest.fixture(scope="session")
def removals(gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, Store, Path]:
    """See :func:`tests.removals.measured`; nobody writes into it."""
    from tests.removals import measured

    return measured(tmp_path_factory.mktemp("removals"), gpt2_folder)


@pytest.fixture(scope="session")
def real_data() -> RealData:
    """Finds a folder of real public data, or skips the test where there is none."""
    root = Path(os.environ.get("EINFLUENCE_REAL_DATA") or Path(__file__).parents[2] / "shared" / "data" / "real")

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"real data {name!r} is not on this machine (EINFLUENCE_REAL_DATA names its folder)")
        return root / name

    return find
