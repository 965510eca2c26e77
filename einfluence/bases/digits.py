"""The embedded image base: a small convolutional network trained on the digits that ship inside scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einfluence.curate.images.sources import digits
from einfluence.keys import content_hash

if TYPE_CHECKING:
    import torch

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


def key() -> str:
    """Content hash of everything that decides the trained weights on one machine."""
    return content_hash((CONFIG, TRAINING))


def train_digits(folder: Path) -> dict[str, float]:
    """Trains the network and writes config.json, model.safetensors and evaluation.json into ``folder``.

    Deterministic: one thread, a seeded generator.

    Returns:
        ``accuracy`` on the held-out scans (a fraction) and ``loss`` there in nats.
    """
    import torch
    from safetensors.torch import save_file

    from einfluence.objectives.image_class import build_classifier

    seen, held_out = ([torch.from_numpy(array) for array in digits(part)[:2]] for part in ("train", "test"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(TRAINING["seed"])  # pyright: ignore[reportUnknownMemberType]
            model = build_classifier(CONFIG, "embedded:digits")
            _fit(model, *seen)
    finally:
        torch.set_num_threads(threads)
    with torch.no_grad():
        logits = model.eval()(held_out[0])
        accuracy = (logits.argmax(-1) == held_out[1]).double().mean().item()
        loss = torch.nn.functional.cross_entropy(logits, held_out[1]).item()
    marks = {"accuracy": accuracy, "loss": loss}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "evaluation.json").write_text(json.dumps({**marks, "training": TRAINING}, indent=2) + "\n")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    return marks


def _fit(model: torch.nn.Module, pixels: torch.Tensor, labels: torch.Tensor) -> None:
    import torch

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
