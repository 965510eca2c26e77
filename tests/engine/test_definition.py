"""The definition against answers from elsewhere: closed forms, autograd, arithmetic by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from einfluence.engine.definition import evaluate, measure, train
from einfluence.engine.measurement import ImageItem, TextItem
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import encode_text
from einfluence.objectives.image_class import ImageClass
from einfluence.spec import AdamW, Last, Match, Recipe

TEXTS = [("dax is a", "bird"), ("wug is a", "fish"), ("", "gold king"), ("dax has", "wings big red")]


def items(base: Base) -> list[TextItem]:
    return [encode_text(base, prompt, target, "test") for prompt, target in TEXTS]


def full(optimizer: str = "sgd", **fields: object) -> Recipe:
    return Recipe.model_validate({"adapter": "full", "optimizer": optimizer, "dtype": "float64", **fields})


@pytest.mark.parametrize(
    "recipe", [Recipe(steps=0), Recipe(optimizer=AdamW(lr=0.0), steps=3), full(steps=0), full("adam", lr=0.0)]
)
def test_a_probe_that_trains_nothing_has_influence_exactly_zero(gpt2: Base, recipe: Recipe) -> None:
    before, found = measure(gpt2, recipe, [[item] for item in items(gpt2)], items(gpt2), seed=0)
    for _, tuned, after in found:
        assert after is not None and tuned.update_norm == 0.0
        assert np.array_equal(after.logprob, before.logprob) and np.array_equal(after.rank, before.rank)


@pytest.mark.parametrize("recipe", [Recipe(optimizer=AdamW(lr=0.1)), Recipe(adapter=Last()), full(lr=0.1)])
def test_the_base_is_bit_identical_afterwards(gpt2: Base, recipe: Recipe) -> None:
    weights = copy.deepcopy(gpt2.model.state_dict())
    list(measure(gpt2, recipe, [items(gpt2)[:1], items(gpt2)[1:3]], items(gpt2), seed=0)[1])
    assert all(torch.equal(weights[name], value) for name, value in gpt2.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in gpt2.model.parameters())


def reference_logprob(model: torch.nn.Module, item: TextItem) -> torch.Tensor:
    """Sum of log p over the target's tokens, one position at a time (transformers' own loss rounds to float32)."""
    logits = model(input_ids=torch.tensor([item.ids])).logits[0]
    length = len(item.ids)
    rows = [logits[k - 1] - logits[k - 1].logsumexp(0) for k in range(length - item.n_target, length)]
    return sum(row[token] for row, token in zip(rows, item.ids[-item.n_target :], strict=True))


def gradient(base: Base, item: TextItem) -> torch.Tensor:
    """The gradient of a sample's summed log-probability, written without the engine."""
    model = copy.deepcopy(base.model).double().requires_grad_(True)
    total = reference_logprob(model, item)
    return torch.cat([part.flatten() for part in torch.autograd.grad(total, list(model.parameters()))])


def test_for_small_lr_influence_is_lr_times_the_gradients_dot_product(gpt2: Base) -> None:
    probe, queries = items(gpt2)[3], items(gpt2)
    gradients = [gradient(gpt2, item) for item in queries]
    # The loss is the mean over the probe's tokens, the influence a sum over the query's.
    expected = np.array([(gradients[3] @ other).item() / probe.n_target for other in gradients])
    errors: list[float] = []
    for lr in (1e-4, 1e-5, 1e-6):
        before, found = measure(gpt2, full(lr=lr, steps=1), [[probe]], queries, seed=0)
        after = next(found)[2]
        assert after is not None
        errors.append(np.abs((after.logprob - before.logprob) / lr - expected).max())
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.3)
    assert errors[2] == pytest.approx(errors[1] / 10, rel=0.3)


def linear_base(weight: np.ndarray) -> Base:
    layer = torch.nn.Linear(2, 3, bias=False, dtype=torch.float64)
    layer.weight.data = torch.from_numpy(weight)
    model = torch.nn.Sequential(torch.nn.Flatten(), layer)
    return Base(BaseInfo("linear", "linear", "image_class", ""), model, ImageClass((2, 1, 1), 3))


def test_a_linear_classifier_follows_its_closed_form() -> None:
    weight = np.array([[0.2, -0.1], [0.0, 0.3], [-0.4, 0.1]])
    x, y, z, label = np.array([1.0, 2.0]), 1, np.array([0.5, -1.5]), 2

    def softmax(logits: np.ndarray) -> np.ndarray:
        return np.exp(logits) / np.exp(logits).sum()

    trained = weight + 0.3 * np.outer(np.eye(3)[y] - softmax(weight @ x), x)
    expected = np.log(softmax(trained @ z)[label]) - np.log(softmax(weight @ z)[label])
    probe = ImageItem(x.reshape(2, 1, 1).astype(np.float32), y)
    query = ImageItem(z.reshape(2, 1, 1).astype(np.float32), label)
    before, found = measure(linear_base(weight), full(lr=0.3, steps=1), [[probe]], [query], seed=0)
    _, tuned, after = next(found)
    assert after is not None
    assert after.logprob[0] - before.logprob[0] == pytest.approx(expected, rel=1e-12)
    assert tuned.losses == pytest.approx([-np.log(softmax(weight @ x)[y])])
    assert tuned.update_norm == pytest.approx(np.linalg.norm(trained - weight))
    assert before.rank[0] == 1 + np.sum(weight @ z > (weight @ z)[label])


def test_a_bundle_is_the_mean_over_all_its_target_tokens(gpt2: Base) -> None:
    one, three = items(gpt2)[0], items(gpt2)[3]
    bundle = train(gpt2, full(steps=1), [one, three], seed=0).losses[0]
    alone = [train(gpt2, full(steps=1), [item], seed=0).losses[0] for item in (one, three)]
    assert bundle == pytest.approx((alone[0] * 1 + alone[1] * 3) / 4, rel=1e-12)


def test_log_probabilities_are_the_sum_over_the_targets_positions(gpt2: Base) -> None:
    scores = evaluate(gpt2, full(), items(gpt2))
    for item, logprob, tokens in zip(items(gpt2), scores.logprob, scores.n_tokens, strict=True):
        with torch.no_grad():
            expected = reference_logprob(copy.deepcopy(gpt2.model).double(), item).item()
        assert logprob == pytest.approx(expected, rel=1e-10)
        assert tokens == item.n_target


def test_training_helps_the_probe_itself(gpt2: Base) -> None:
    queries = items(gpt2)
    for recipe in (Recipe(optimizer=AdamW(lr=1e-2), steps=20), full(lr=0.1, steps=5), full("adam", lr=1e-3)):
        before, found = measure(gpt2, recipe, [[query] for query in queries], queries, seed=0)
        for index, tuned, after in found:
            assert after is not None and after.logprob[index] > before.logprob[index]
            assert tuned.losses[-1] < tuned.losses[0] and len(tuned.losses) == recipe.steps


def test_a_kept_delta_gives_the_same_numbers_without_training(gpt2: Base) -> None:
    for recipe in (Recipe(optimizer=AdamW(lr=1e-2)), full(lr=0.1)):
        probes = [[item] for item in items(gpt2)]
        fresh = list(measure(gpt2, recipe, probes, items(gpt2), seed=3)[1])
        kept = {index: tuned.delta for index, tuned, _ in fresh}
        again = list(measure(gpt2, recipe, probes, items(gpt2), seed=3, kept=kept)[1])
        for (_, _, first), (_, tuned, second) in zip(fresh, again, strict=True):
            assert first is not None and second is not None and not tuned.losses
            assert np.array_equal(first.logprob, second.logprob)


def test_a_loss_that_explodes_fails_that_probe_alone(gpt2: Base) -> None:
    probes = [[item] for item in items(gpt2)[:2]]
    _, found = measure(gpt2, full(lr=1e30, steps=3, dtype="float32"), probes, items(gpt2), seed=0)
    for _, tuned, after in found:
        assert after is None and tuned.failed is not None and "step" in tuned.failed


def test_a_pattern_that_matches_nothing_is_told(gpt2: Base) -> None:
    with pytest.raises(InputError, match="matches no parameter"):
        train(gpt2, Recipe(adapter=Match(pattern="no such")), items(gpt2)[:1], seed=0)
