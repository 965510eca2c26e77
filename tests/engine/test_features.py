"""What a base makes of texts: the mean state of the whole, and of the target, at half the depth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from einfluence.bases.load import find_base, load_base
from einfluence.engine.features import features, states_at
from einfluence.objectives.causal_lm import encode_text
from einfluence.samples import Sample
from tests.engine.architectures import architecture
from tests.engine.random_models import CONFIGS, VOCABULARY, text_base


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("layer", [0.0, 0.5, 1.0])
def test_states_are_those_that_the_model_gives(name: str, layer: float) -> None:
    model = text_base(name).model
    ids = torch.randint(3, VOCABULARY, (3, 7))
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
        found = states_at(model, ids, layer)
    torch.testing.assert_close(found, states[round(layer * (len(states) - 1))])


@pytest.mark.parametrize("name", ["gemma3n", "xlnet", "rwkv", "falcon-h1", "mamba", "gemma3-vision", "xlm"])
def test_every_architecture_gives_one_vector_a_token_whatever_its_layout(name: str) -> None:
    """Also where a batch has as many texts as each has tokens, and one is read as it is beside others."""
    model = architecture(name).model
    ids = torch.arange(3, 12).view(3, 3)
    with torch.no_grad():
        together = states_at(model, ids, 0.5)
        alone = torch.cat([states_at(model, text[None], 0.5) for text in ids])
    assert together.shape[:2] == ids.shape and together.dim() == 3
    torch.testing.assert_close(together, alone)


def test_texts_are_read_as_a_whole_and_at_their_targets() -> None:
    base = load_base(find_base("embedded:world", "test"))
    said = (("a dog is", "an animal"), ("", "dog"), ("a cat is", "an animal"), ("the dog", "is not an animal"))
    texts = [Sample(name=target, prompt=prompt, target=target) for prompt, target in said]
    found = features(base, texts)
    for sample, (whole, end) in zip(texts, found, strict=True):
        item = encode_text(base, sample.prompt, sample.target, "test")
        with torch.no_grad():
            states = base.model(torch.tensor([item.ids]), output_hidden_states=True).hidden_states
        middle = states[len(states) // 2][0].numpy()
        np.testing.assert_allclose(whole, middle.mean(0), atol=1e-5)
        np.testing.assert_allclose(end, middle[len(item.ids) - item.n_target :].mean(0), atol=1e-5)
        assert np.abs(whole - end).max() > 0.01
