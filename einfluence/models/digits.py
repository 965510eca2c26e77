"""The embedded image base: a small convolutional network trained on the digits that ship inside scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from einfluence.keys import content_hash

CONFIG: dict[str, Any] = {
    "modality": "image",
    "input_shape": [1, 8, 8],
    "classes": 10,
    "layers": [
        ["Conv2d", {"in_channels": 1, "out_channels": 16, "kernel_size": 3, "padding": 1}],
        ["ReLU", {}],
        ["Conv2d", {"in_channels": 16, "out_channels": 32, "kernel_size": 3, "padding": 1}],
        ["ReLU", {}],
        ["MaxPool2d", {"kernel_size": 2}],
        ["Flatten", {}],
        ["Linear", {"in_features": 512, "out_features": 64}],
        ["ReLU", {}],
        ["Linear", {"in_features": 64, "out_features": 10}],
    ],
}
# Smoothed labels keep the network from certainty: a base that is sure of everything has nothing left to learn.
TRAINING: dict[str, Any] = {
    "epochs": 24,
    "batch": 32,
    "lr": 2e-3,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    "seed": 0,
}


def split() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of ``sklearn.datasets.load_digits()`` that the base is trained on (three of five), and the rest.

    The rest is what probes and queries are drawn from, so that a probe is new to the base.
    """
    rows = np.arange(1797)
    held_out = rows % 5 >= 3
    return rows[~held_out], rows[held_out]


def digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """All 1,797 scans: pixels (1797, 1, 8, 8) in [0, 1] and labels (1797,). Source: UCI, Alpaydin and Kaynak (1998)."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return (bunch.images / 16.0).astype(np.float32)[:, None], bunch.target.astype(np.int64)


def key() -> str:
    """Content hash of everything that decides the trained weights on one machine."""
    return content_hash((CONFIG, TRAINING))


def train_digits(folder: Path) -> dict[str, float]:
    """Trains the network and writes config.json, model.safetensors and evaluation.json into ``folder``.

    Deterministic: one thread, a seeded generator.

    Returns:
        ``accuracy`` on the held-out scans (a fraction) and ``loss`` there in nats.
    """
    from einfluence.models.load import build_classifier

    pixels, labels = (torch.from_numpy(array) for array in digits())
    train, test = (torch.from_numpy(rows) for rows in split())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(TRAINING["seed"])  # pyright: ignore[reportUnknownMemberType]
            model = build_classifier(CONFIG, "embedded:digits")
            _fit(model, pixels[train], labels[train])
    finally:
        torch.set_num_threads(threads)
    with torch.no_grad():
        logits = model.eval()(pixels[test])
        accuracy = (logits.argmax(-1) == labels[test]).double().mean().item()
        loss = torch.nn.functional.cross_entropy(logits, labels[test]).item()
    marks = {"accuracy": accuracy, "loss": loss}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "evaluation.json").write_text(json.dumps({**marks, "training": TRAINING}, indent=2) + "\n")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    return marks


def _fit(model: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> None:
    epochs, batch = TRAINING["epochs"], TRAINING["batch"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=TRAINING["lr"], weight_decay=TRAINING["weight_decay"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, TRAINING["lr"], total_steps=epochs * (len(labels) // batch)
    )
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(labels))
        for rows in order[: len(labels) // batch * batch].split(batch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                model(pixels[rows]), labels[rows], label_smoothing=TRAINING["label_smoothing"]
            )
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimizer.step()
            schedule.step()
