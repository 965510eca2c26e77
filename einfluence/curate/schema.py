"""JSON schemas of the files that users write; ``python -m einfluence.curate.schema`` puts them into docs/schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from einfluence.curate.builder import KINDS, PROBE_KINDS
from einfluence.curate.facts.schema import FactsFile


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextSample(_Row):
    """A row of a samples file of texts."""

    id: str | int | None = Field(None, description="unlike any other row's; made from the content without one")
    prompt: str = Field("", description="text before the target; may be empty")
    target: str = Field(min_length=1, description="the text whose log-probability is watched")
    group: str = Field("", description="what results are compared by; `samples.domain` in the tables")
    cluster: str = Field("", description="what is resampled together; the row itself by default")
    template: str | None = Field(None, description="the template that made it")
    join: str | None = Field(None, description='what stands between prompt and target; "" for nothing')


class ImageSample(_Row):
    """A row of a samples file of images."""

    id: str | int | None = Field(None, description="unlike any other row's; made from the content without one")
    image: str = Field(description="path of a PNG, JPEG, ... or .npy file, from the samples file's folder")
    label: int | str = Field(description="class index from 0, or the name of a class that the base or the part names")
    group: str = Field("", description="what results are compared by; the class by default")
    cluster: str = Field("", description="what is resampled together; the row itself by default")


class ClassifiedTextSample(_Row):
    """A row of a samples file of texts for a text classifier."""

    id: str | int | None = Field(None, description="unlike any other row's; made from the content without one")
    text: str = Field(description="the text that is classified")
    text_b: str = Field("", description="the second text of a pair")
    label: int | str = Field(description="name of a class in the base's id2label, or its index from 0")
    group: str = Field("", description="what results are compared by; the class by default")
    cluster: str = Field("", description="what is resampled together; the row itself by default")
    template: str | None = Field(None, description="the template that made it")


class ProbeRow(_Row):
    """A row of a probes file."""

    id: str | int = Field(description="unlike any other row's")
    samples: list[str | int] | str = Field(description="sample ids, trained together; in a CSV separated by ;")
    kind: str | None = Field(None, json_schema_extra={"enum": [*PROBE_KINDS, None]})


class RelationRow(_Row):
    """A row of a relations file."""

    probe: str | int
    query: str | int
    kind: str | None = Field(None, json_schema_extra={"enum": [*KINDS, None]})
    level: float | None = Field(None, description="noise level, or depth of inference")
    distance: float | None = Field(None, ge=0)


SCHEMAS: dict[str, type[BaseModel]] = {
    "facts": FactsFile,
    "samples-text": TextSample,
    "samples-image": ImageSample,
    "samples-sequence-class": ClassifiedTextSample,
    "probes": ProbeRow,
    "relations": RelationRow,
}


def schemas() -> dict[str, dict[str, Any]]:
    """JSON schemas (draft 2020-12) by name."""
    made: dict[str, dict[str, Any]] = {}
    for name, model in SCHEMAS.items():
        made[name] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return made


def text_of(schema: dict[str, Any]) -> str:
    """A schema as the file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def write(folder: Path) -> list[Path]:
    """Writes ``<name>.json`` for every schema and returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, schema in schemas().items():
        path = folder / f"{name}.json"
        path.write_text(text_of(schema), encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write(Path(__file__).parents[2] / "docs" / "schema")
