"""What is recorded of a model with some adapters is what the model says with others, or it is not recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from einfluence.engine import merged_reading
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.generic import GenericEngine
from einfluence.engine.merged import Adapted
from einfluence.engine.operations import Operation
from einfluence.engine.read_rows import picked
from einfluence.engine.recorded import Recording, UnrecordableError, record
from einfluence.engine.schedule import probe_training
from tests.engine.comparison import ask, influences
from tests.engine.random_models import image_base, images, text_base, texts
from tests.engine.test_generic import NORMS
from tests.engine.test_read_rows import CASES, classifier, pictures
from tests.engine.test_schedule import ADAPTERS, recipe_of

LORA = recipe_of(ADAPTERS["lora"], "adam")


def changing(engine: GenericEngine) -> tuple[Any, Any]:
    """What a training changes."""
    assert engine._merging is not None
    return engine._merging.adapted, engine._merging.written


def recorded(engine: GenericEngine, items: Any) -> tuple[Recording, Any]:
    """What is recorded of some items, and what the model itself says of them."""
    assert engine.merged is not None
    run = engine.merged._with_model(engine.collated(items))
    engine.merged.merge(engine.start)
    found, out = record(run, *changing(engine))
    assert torch.equal(out, found())
    return found, run


def moved(engine: GenericEngine) -> dict[str, torch.Tensor]:
    """Adapters that are not those before training."""
    return {name: value + 0.1 * torch.randn_like(value) for name, value in engine.start.items()}


@pytest.mark.parametrize("adapter", [*ADAPTERS, "norms"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_says_what_the_model_says_after_other_trainings(dtype: str, adapter: str) -> None:
    """In float32 products are made by other kernels; what follows from nothing trained is no operation."""
    for made, items in (classifier("Bert"), pictures(), (text_base("gpt2"), texts(2, 3))):
        engine = GenericEngine(made, recipe_of(ADAPTERS.get(adapter, NORMS), "adam", dtype), 1)
        found, run = recorded(engine, items[:3])
        before, allowed = run(), {"float64": 1e-12, "float32": 1e-5}[dtype]
        assert engine.merged is not None
        for _ in range(2):
            engine.merged.merge(moved(engine))
            truth = run()
            assert (found() - truth).abs().max() < allowed * truth.abs().max() < (truth - before).abs().max()
        names = " ".join(each.run.__name__ for each in found.operations)
        assert "dropout" not in names and ("embedding" not in names or adapter in ("full", "last"))
        assert ("_linear_pointwise" in names) == (dtype == "float32")


def test_a_product_of_what_follows_from_no_adapter_is_computed_once() -> None:
    made, items = pictures()
    found, _ = recorded(GenericEngine(made, LORA, 1), items)
    beside = [each.run.__name__ for each in found.operations if each.run.__name__.endswith("_beside")]
    assert beside == ["_conv_beside"]  # the first there is, on which all others depend
    made, items = classifier("Bert")
    found, _ = recorded(GenericEngine(made, LORA, 1), items)
    beside = [each.run.__name__ for each in found.operations if each.run.__name__.endswith("_beside")]
    assert beside == ["_linear_beside"] * 3  # the first block's queries, keys and values


def test_of_a_classifier_whose_head_is_trained_alone_nothing_else_is_run() -> None:
    for made, items in (classifier("Bert"), pictures()):
        found, _ = recorded(GenericEngine(made, recipe_of("last", "adam"), 1), items)
        assert [each.run.__name__ for each in found.operations] == ["linear.default", "unsqueeze.default"]


@pytest.mark.parametrize("case", ["class DebertaV2", "decoder"])
def test_of_the_last_block_the_rows_that_are_read_alone_are_computed(case: str) -> None:
    """Though the model itself can only compute all of them."""
    made, items = CASES[case][0]()
    engine = GenericEngine(made, LORA, 1)
    found, run = recorded(engine, [items[0], items[3]])
    last = [each for each in found.operations if each.run is torch.ops.aten.layer_norm.default][-1]
    values: list[Any] = []
    spied = replace(found, operations=[replace(each, run=spy(each, last, values)) for each in found.operations])
    assert engine.merged is not None
    engine.merged.merge(moved(engine))
    assert (spied() - run()).abs().max() < 1e-12
    assert [value.shape for value in values] == [(2, 1, 16)]


def spy(each: Operation, wanted: Operation, values: list[Any]) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        out = each.run(*args, **kwargs)
        values.extend([out] if each is wanted else [])
        return out

    return run


@pytest.mark.parametrize("row", [0, 2, -1])
def test_rows_are_needed_by_whoever_takes_them(row: int) -> None:
    """All are computed where something else takes them, or where they are written to later."""
    weight, x = torch.randn(4, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    adapted = Adapted(weight, weight.clone(), torch.randn(1, 4).to(x), torch.zeros(4, 1).to(x), 1.0)
    position, mask = torch.randn(1, 3, 4).to(x), torch.rand(2, 3, 1).to(x)

    def one() -> torch.Tensor:
        hidden = F.linear(x, weight).softmax(1)
        return F.layer_norm((hidden * mask).tanh() + position + hidden, [4])[:, row]

    def beside() -> torch.Tensor:
        return (F.linear(x, weight).softmax(1) + position[0]).tanh()[:, row]

    def two() -> torch.Tensor:
        hidden = F.linear(x, weight).tanh()
        return hidden[:, row] + hidden.sum(1)

    def writes() -> torch.Tensor:
        hidden = F.linear(x, weight).softmax(1)
        first = hidden.tanh() + position
        return (first + hidden.mul_(2.0)).relu()[:, row]

    for run, few in ((one, True), (beside, True), (two, False), (writes, True)):
        found, _ = record(run, [adapted], [position])
        adapted.up.add_(1.0)
        position.mul_(2.0)
        weight.add_(adapted.down.expand(4, 4))
        assert torch.allclose(found(), run(), rtol=1e-12)
        assert (picked in {each.run for each in found.operations}) == few


class Looks(nn.Module):
    """Decides by what it is given, in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.register_buffer("seen", torch.zeros(8, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.way == "number":
            return x * (2.0 if x.sum().item() > 0 else 1.0)
        if self.way == "selects":
            return x.index_add(0, torch.nonzero(x[:, 0] > 0)[:, 0], x[x[:, 0] > 0])
        if self.way == "writes":
            self.seen.add_(x.detach()[0])  # type: ignore[operator]
            return x + self.seen  # type: ignore[operator]
        if self.way == "unseen":
            return x * float(x.detach().numpy()[0, 0])
        return F.relu(x)


@pytest.mark.parametrize("way", ["number", "selects", "writes"])
def test_what_other_adapters_may_lead_elsewhere_is_refused(way: str) -> None:
    first, looks, last = nn.Linear(64, 8).double(), Looks(way), nn.Linear(8, 3).double()
    pixels, weight = torch.randn(4, 64, dtype=torch.float64), first.weight.detach()
    nothing = torch.zeros(1, 64).to(weight), torch.zeros(8, 1).to(weight)
    adapted = Adapted(weight, weight.clone(), *nothing, 1.0)
    with pytest.raises(UnrecordableError, match="aten"):
        record(lambda: last(looks(F.linear(pixels, weight))), [adapted])
    found, out = record(lambda: last(Looks("plain")(F.linear(pixels, weight))), [adapted])
    assert torch.equal(found(), out)


def test_what_is_decided_unseen_is_found_by_trying() -> None:
    """And such a model is read by its own Python, to the same numbers as the definition's."""
    layers = [nn.Flatten(), nn.Linear(64, 8), nn.PReLU(8), nn.Linear(8, 10)]
    for way, may in (("plain", True), ("unseen", False)):
        base = image_base(nn.Sequential(*layers[:3], Looks(way), layers[3]))
        engine = GenericEngine(base, recipe_of(ADAPTERS["lora"], "sgd"), 0)
        assert engine.merged is not None
        assert engine.merged._may_be_recorded(engine.collated(images(1, 1))) == may


def test_what_few_trainings_read_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged_reading, "REPAID", 3)
    made, items = classifier("Bert")
    for n, known in ((2, []), (3, [True])):
        engine = GenericEngine(made, LORA, 1, Sizes(score=1))
        ask(engine, [[item] for item in items[:n]], items)
        assert engine.merged is not None and engine.merged._known == known


def test_what_would_hold_too_much_is_read_by_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made, items = classifier("Bert")
    probes = [[item] for item in items[:2]]
    truth = influences(ask(GenericEngine(made, LORA, 1, Sizes(score=1)), probes, items))
    monkeypatch.setattr(merged_reading, "HELD", 3000)
    engine = GenericEngine(made, LORA, 1, Sizes(score=1))
    np.testing.assert_allclose(influences(ask(engine, probes, items)), truth, rtol=1e-9, atol=1e-12)
    assert engine.merged is not None and engine.merged._held > 3000


def test_a_training_that_changes_nothing_has_influence_exactly_0() -> None:
    """Though what is recorded rounds otherwise than the model's own products."""
    made, items = classifier("Bert")
    engine = GenericEngine(made, recipe_of(ADAPTERS["lora"], "sgd", "float32"), 1, Sizes(score=1))
    for steps in (0, 1):
        probe = probe_training([items[0]], steps)
        assert influences(ask(engine, [probe], items)).any() == bool(steps)
