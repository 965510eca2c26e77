"""A fresh output layer where a base brings a body alone: requested by name, drawn from a seed, in the base's id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from einfluence.recipe import Model, Seed

TASKS = {
    "sequence_class": "ForSequenceClassification",
    "token_class": "ForTokenClassification",
    "image_class": "ForImageClassification",
}
"""Objectives whose head can be new, and how transformers calls the models for them."""


class Head(Model):
    """A classifier's head that no training has seen."""

    kind: Literal["new"] = "new"
    seed: Seed = 0
    objective: Literal["sequence_class", "token_class", "image_class"] | None = Field(
        default=None, description="what the base shall predict; null takes what `architectures` in config.json says"
    )
    labels: tuple[str, ...] | None = Field(
        default=None, description="the classes or tags, in order; null takes `id2label` in config.json"
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> Head:
        if self.labels is not None and (len(self.labels) < 2 or len(set(self.labels)) < len(self.labels)):
            raise ValueError("two or more `labels`, each once")
        return self

    @property
    def label(self) -> str:
        """What is put behind a base's name."""
        return f"new head, seed {self.seed}"

    def configured(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A base's configuration with its classes, as if it had been saved with such a head."""
        task = {"architectures": [f"New{TASKS[self.objective]}"]} if self.objective else {}
        named = {"id2label": {str(at): name for at, name in self.classes["id2label"].items()}} if self.classes else {}
        return {**config, **task, **self.classes, **named}

    @property
    def classes(self) -> dict[str, Any]:
        """Names of the classes as transformers' configurations have them; nothing where they are not given."""
        if self.labels is None:
            return {}
        return {"id2label": dict(enumerate(self.labels)), "label2id": {name: at for at, name in enumerate(self.labels)}}


NewHead = Annotated[Head, BeforeValidator(lambda value: {"kind": value} if isinstance(value, str) else value)]
"""A head, or its kind alone: ``head: new``."""
