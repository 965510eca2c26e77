"""What a base makes of texts: the mean state of the whole, and of the target, at half the depth."""

from __future__ import annotations

import numpy as np
import torch

from einfluence.engine.encode import encode_text
from einfluence.engine.features import features
from einfluence.models.load import find_base, load_base
from einfluence.samples import Sample


def test_texts_are_read_as_a_whole_and_at_their_targets() -> None:
    base = load_base(find_base("embedded:world", "test"))
    texts = [
        Sample(name=target, prompt=prompt, target=target) for prompt, target in (("a dog is", "an animal"), ("", "dog"))
    ]
    found = features(base, texts)
    for sample, (whole, end) in zip(texts, found, strict=True):
        item = encode_text(base, sample.prompt, sample.target, "test")
        with torch.no_grad():
            states = base.model(torch.tensor([item.ids]), output_hidden_states=True).hidden_states
        middle = states[len(states) // 2][0].numpy()
        np.testing.assert_allclose(whole, middle.mean(0), atol=1e-5)
        np.testing.assert_allclose(end, middle[len(item.ids) - item.n_target :].mean(0), atol=1e-5)
        assert np.abs(whole - end).max() > 0.01
