"""EK-FAC beside that of kronfluence, by its authors; only where it is installed (``pip install kronfluence``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.estimators.ekfac import by_factors, factors
from einfluence.estimators.pushes import Push, Pushes, scores
from einfluence.recipe import Recipe
from tests.estimators.softmax import CLASSES, problem

REASON = "kronfluence 1.0.1 is not installed; it is no requirement of the project"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_ekfac_times_n_is_what_kronfluence_scores_on_linear_layers(tmp_path: Path) -> None:
    kronfluence = pytest.importorskip("kronfluence", reason=REASON)
    from kronfluence.analyzer import Analyzer, prepare_model  # pyright: ignore
    from kronfluence.arguments import FactorArguments, ScoreArguments  # pyright: ignore

    some = problem(3, n=24, queries=6)
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    layers = nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, CLASSES, bias=False)
    model = nn.Sequential(nn.Flatten(), *layers).eval()
    base = replace(some.base, model=model)
    point = Point.start(base, Recipe.model_validate({"adapter": "full"}), 0)
    own = scores(
        Collector(point),
        Pushes(tuple((Push(1.0, ((item, 1.0),)),) for item in some.items)),
        some.asked,
        by_factors(factors(Collector(point), some.items, 0), 0.1),
    )
    x = torch.from_numpy(some.x).float()
    chance = model(x).softmax(-1).double()
    uniform = torch.tensor([[np.random.default_rng((0, i)).random()] for i in range(len(x))])
    drawn = (chance.cumsum(-1) < uniform).sum(-1)  # the targets that our factors are taken with

    class Classify(kronfluence.Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> torch.Tensor:
            return cross_entropy(model(batch[0]), batch[2] if sample else batch[1], reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> torch.Tensor:
            return self.compute_train_loss(batch, model)

    task, train = Classify(), TensorDataset(x, torch.from_numpy(some.y), drawn)
    asked_x, asked_y = torch.from_numpy(some.queries[0]).float(), torch.from_numpy(some.queries[1])
    asked = TensorDataset(asked_x, asked_y, asked_y)
    analyzer = Analyzer("toy", prepare_model(model, task), task, cpu=True, disable_tqdm=True, output_dir=str(tmp_path))
    analyzer.fit_all_factors("f", train, per_device_batch_size=24, factor_args=FactorArguments(strategy="ekfac"))
    analyzer.compute_pairwise_scores(
        "s", "f", asked, train, per_device_query_batch_size=6, per_device_train_batch_size=24,
        score_args=ScoreArguments(damping_factor=None),
    )  # fmt: skip
    right = analyzer.load_pairwise_scores("s")["all_modules"].numpy()
    assert np.abs(right).max() > 0.1 and np.allclose(own, right, rtol=1e-3, atol=1e-4 * np.abs(right).max())
