"""What to measure: frozen, validated models of the spec file, each part hashable with :mod:`einfluence.keys`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from einfluence.action import Action
from einfluence.arms import AnyArm, Arm, FineTune, InContext, LeaveOneOut, Subsets, estimators
from einfluence.arms import within as within_a_set
from einfluence.data import BESIDE, DATA, Facts, Images, Similarity, Source, Template
from einfluence.errors import InputError
from einfluence.faults import refused
from einfluence.feature import Features
from einfluence.grid import AXES, expand
from einfluence.head import NewHead
from einfluence.predictors import resolved
from einfluence.recipe import (
    Adam,
    AdamW,
    Adapter,
    Count,
    Float,
    Full,
    Int,
    Last,
    Lora,
    Match,
    Model,
    Optimizer,
    Prompting,
    Recipe,
    Seed,
    Sgd,
    Tuning,
)  # fmt: skip
from einfluence.rules import Rules
from einfluence.sampling import Measure
from einfluence.sizes import byte_count
from einfluence.trained_base import TrainedBase
from einfluence.training_set import TrainingSet
from einfluence.yamlfile import Key, read

__all__ = [
    "Action", "Adam", "AdamW", "Adapter", "Arm", "Facts", "FineTune", "Full", "Images", "InContext", "Last",
    "LeaveOneOut", "Lora", "Match", "Measure", "Optimizer", "Part", "Prompting", "Recipe", "Sgd", "Source", "Spec",
    "Subsets", "TrainedBase", "TrainingSet", "Tuning", "byte_count", "load_spec",
]  # fmt: skip


class Part(Model):
    """One experiment: a base, the data, and the arms. Exactly one of facts, samples, images, source gives the data."""

    name: str = "main"
    base: str | TrainedBase = Field(
        description="hub id[@revision], a folder, or embedded:NAME; or {training: PART}, what an earlier part trained"
    )
    facts: Facts | None = None
    samples: str | None = Field(
        default=None,
        description="a .jsonl, .json, .csv, .tsv or .parquet file, a folder saved by `datasets`, or a hub id "
        "`org/name[:config][:split]`; docs/curation.md says which rows are read",
    )
    fields: dict[str, str] = Field(
        default_factory=dict, description="columns of `samples` by our names: {prompt: question, target: answer}"
    )
    extra: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="columns of `samples` that nothing reads: refused by name, or left out and counted",
    )
    text_pairs: Literal["auto", "any"] = Field(
        default="auto",
        description="of a text classifier: auto refuses rows without a `text_b` beside others with one, or for classes "
        "of pairs (entailment, duplicate, ...); any takes each as it is",
    )
    chat: bool = Field(default=False, description="write texts as a user's turn and the assistant's")
    chat_template: str | None = Field(
        default=None, description="a file (Jinja) to write chats by, instead of the base's own template"
    )
    probes: str | None = Field(default=None, description="{id, samples: [..]}; by default every sample is a probe")
    queries: str | None = Field(
        default=None, description="text file of sample ids, one a line; by default every sample"
    )
    relations: str | None = Field(default=None, description="{probe, query, kind, level?, distance?}")
    paraphrases: tuple[Template, ...] = Field(
        default=(), description='queries that are paraphrases of each probe, by templates: ["they say {text}"]'
    )
    noise: dict[str, tuple[Float, ...]] = Field(
        default_factory=dict,
        description="noisy versions of probes that are texts: shares by family, {typos: [0.1, 0.3]}",
    )
    label_flip: bool = Field(default=False, description="also each probe with a wrong label, where it has one")
    near_duplicates: Similarity | None = Field(
        default=None,
        description="similarity from which texts of `samples` or `source` are near-duplicates, 0 for none of them; "
        "null takes 0.8 for texts with a class or tags and 0 for others",
    )
    images: Images | None = None
    source: Source | None = None
    training_set: TrainingSet | None = Field(
        default=None, description="how the probes are trained on together, for arms such as `leave_one_out`"
    )
    classes: dict[str, Annotated[Int, Field(ge=0)]] | None = Field(
        default=None,
        description="labels in the data, in the order of the base's classes or each with its index: {cat: 3, dog: 5}",
    )
    distance: tuple[str, ...] = Field(
        default=(), description="distance measures, the first is `relations.distance`; empty takes the default"
    )
    join: str | None = Field(
        default=None,
        description='what stands between prompt and target; "" is verbatim, null a blank where the scripts write one',
    )
    bos: Literal["auto", "always", "never"] = Field(
        default="auto", description="whether texts begin with the beginning-of-text token; auto as the tokenizer has it"
    )
    head: NewHead | None = Field(default=None, description="`new` draws a head that the base's files do not hold")
    pairs: Int = Field(
        default=4_000_000,
        ge=1,
        description="most pairs of which all are measured; beyond, each probe meets its claims and 8 to 64 others",
    )
    measure: Measure | None = Field(
        default=None, description="measure what is claimed and a share of the rest, and infer the other cells"
    )
    arms: tuple[AnyArm, ...] = Field(default=(FineTune(),), min_length=1)
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    actions: tuple[Action, ...] = Field(
        default=(), description="what is done because of influence within the `training_set`, and checked by trainings"
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="run the blocks of a model again in the backward pass instead of keeping what they compute: "
        "trainings take less memory and more time, and no number changes",
    )
    keep_packed: bool = Field(
        default=False,
        description="leave a base's weights in 4 bits in memory: far less of it, more time, and no number changes; "
        "for arms with LoRA, and prompts",
    )
    trust_remote_code: bool = False

    @model_validator(mode="before")
    @classmethod
    def _data_of_the_set(cls, values: object) -> object:
        """What a training set names as its data is the part's."""
        part = cast("dict[Any, Any]", values) if isinstance(values, dict) else {}
        written = part.get("training_set")
        if not isinstance(written, dict):
            return values
        given = dict(cast("dict[Any, Any]", written))
        data = {name: given.pop(name) for name in DATA if name in given}
        twice = next((name for name in data if name in part), None)
        if twice is not None:
            raise ValueError(f"`{twice}` once: under `training_set`, or beside it")
        return {**part, **data, "training_set": given}

    @field_validator("facts", mode="before")
    @classmethod
    def _facts_by_name(cls, value: object) -> object:
        return {"file": value} if isinstance(value, str) else value

    @field_validator("images", mode="before")
    @classmethod
    def _images_by_name(cls, value: object) -> object:
        return {"source": value} if isinstance(value, str) else value

    @field_validator("classes", mode="before")
    @classmethod
    def _classes_in_order(cls, value: object) -> object:
        """A list stands for the indices from 0; a name that YAML reads as a number is text."""
        if isinstance(value, list | tuple):
            names = [str(name) for name in cast("list[object]", value)]
            if len(set(names)) != len(names):
                raise ValueError("each class once in `classes`")
            return {name: index for index, name in enumerate(names)}
        if isinstance(value, dict):
            return {str(name): index for name, index in cast("dict[object, object]", value).items()}
        return value

    @field_validator("distance", mode="before")
    @classmethod
    def _one_distance(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("arms", mode="before")
    @classmethod
    def _grid(cls, value: object) -> object:
        """A list under `lr` or `steps` stands for one arm for each of its values."""
        if not isinstance(value, list | tuple):
            return value
        return [arm for item in cast("list[object]", value) for arm, _ in expand(item)]

    @field_validator("arms")
    @classmethod
    def _arms_differ(cls, value: tuple[Arm, ...]) -> tuple[Arm, ...]:
        arms = resolved(value)
        last = {arm.recipe_id: arm for arm in arms}
        twice = next((arm for arm in arms if arm is not last[arm.recipe_id]), None)
        if twice is not None:
            raise ValueError(f"each arm once in `arms` (twice: {twice.label})")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each seed once in `seeds`")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Part:
        given = [key for key in DATA if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of facts, samples, images, source (here: {', '.join(given) or 'none'})")
        if self.samples is None and (self.probes or self.queries or self.relations):
            raise ValueError("`probes`, `queries` and `relations` beside `samples` only")
        for key, beside in BESIDE.items():
            if key in self.model_fields_set and given[0] not in beside:
                raise ValueError(f"`{key}` beside {' or '.join(f'`{name}`' for name in beside)} only")
        if len(set(self.fields.values())) < len(self.fields):
            raise ValueError("each column once in `fields`")
        return self

    @model_validator(mode="after")
    def _measured_arms(self) -> Part:
        if self.measure is not None and not any(isinstance(arm, FineTune) for arm in self.arms):
            raise ValueError("an arm `finetune` beside `measure`, which is about such cells alone")
        return self

    @model_validator(mode="after")
    def _arms_of_packed(self) -> Part:
        """What is measured of weights that stay in 4 bits is what the definition can measure."""
        for arm in resolved(self.arms) if self.keep_packed else ():
            if not (isinstance(arm, FineTune) and arm.recipe.adapter.kind == "lora") and arm.estimator != "in_context":
                raise ValueError(f"`keep_packed` beside `finetune` with LoRA and `in_context` only (here: {arm.label})")
        return self

    @model_validator(mode="after")
    def _set_and_arms(self) -> Part:
        """Arms that compare trainings of a set need one, and a set needs such an arm."""
        within = next((arm.estimator for arm in resolved(self.arms) if arm.in_a_set), None)
        if within is not None and self.training_set is None:
            raise ValueError(f"a `training_set` beside the arm `{within}`, which is about trainings of one")
        if self.training_set is None and self.actions:
            raise ValueError(f"a `training_set` beside the action `{self.actions[0].kind}`, which trains on one")
        if self.training_set is not None and within is None:
            names = ", ".join(f"`{name}`" for name in within_a_set(estimators()))
            raise ValueError(f"an arm that trains on the `training_set` ({names})")
        if self.training_set is not None and self.training_set.by == "domain" and self.facts is not None:
            raise ValueError("`by: domain` beside samples, images or a source: facts are claimed about one by one")
        if self.training_set is not None and self.training_set.held_out and self.samples is None:
            raise ValueError("`held_out` beside `samples` only: facts, images and sources have queries of their own")
        if self.training_set is not None and self.training_set.then and self.samples is None:
            raise ValueError("`then` beside `samples` only: facts, images and sources have no second stage")
        return self


class Spec(Model):
    """A whole run: its parts and how the work is cut.

    ``shard`` and ``keep_deltas`` change no number, so they enter no hash of a cell.
    """

    name: str = "run"
    parts: tuple[Part, ...] = Field(min_length=1)
    shard: Count | None = Field(
        default=None, description="probes a task; without it, blocks of 64, as many as take half a minute"
    )
    keep_deltas: str = Field(
        default="0",
        description="disk for tuned parameters, e.g. 5GB; lets new queries meet old probes without training",
    )
    metrics: str | None = Field(default=None, description="a folder of your own desiderata (*.sql)")
    verdicts: Rules = Field(default=Rules(), description="how far is far enough for a verdict: `share`, `least`, ...")
    features: Features = Field(default=(), description="features that influence may rest on: `length`, …, or files")
    folder: Path = Field(
        default=Path("."), description="what relative paths start from: the folder of the spec file", exclude=True
    )

    @field_validator("keep_deltas", mode="before")
    @classmethod
    def _a_size(cls, value: object) -> object:
        if isinstance(value, str | int | float):
            byte_count(str(value))
            return str(value)
        return value

    @field_validator("parts")
    @classmethod
    def _names_differ(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        names = [part.name for part in value]
        if len(set(names)) != len(names):
            raise ValueError(f"parts with different names (here: {', '.join(names)})")
        return value

    @field_validator("parts")
    @classmethod
    def _trained_before(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        for index, part in enumerate(value):
            if isinstance(part.base, TrainedBase):
                of = next((each for each in value[:index] if each.name == part.base.training), None)
                if of is None or of.training_set is None:
                    raise ValueError("`base: {training: …}` naming an earlier part that has a `training_set`")
                part.base.tuning(of.arms)
                if part.head is not None:
                    raise ValueError("`head` beside a base that is not trained by another part")
        return value

    def path(self, name: str) -> Path:
        """A path that the spec names, relative to the spec file's folder."""
        return self.folder / os.path.expanduser(name)


def load_spec(path: str | Path) -> Spec:
    """Reads a spec file (YAML).

    A file without ``parts`` is one part whose keys stand at the top.

    Raises:
        InputError: Naming file, line and key of everything that is missing, unknown or of the wrong type.
    """
    document = read(Path(path), "spec file", "`einfluence init` makes one")
    shaped = _with_parts(document.values)
    if "folder" in shaped:
        expected = "no such key: relative paths start from the folder of the spec file"
        raise InputError(document.where("folder"), "the unknown key `folder`", expected)
    try:
        return Spec.model_validate(shaped).model_copy(update={"folder": document.path.resolve().parent})
    except ValidationError as error:
        raise refused(error, document, Spec, lambda loc: _written(loc, document.values, shaped), _hint) from error


def _with_parts(values: dict[Any, Any]) -> dict[Any, Any]:
    if isinstance(values.get("parts"), dict):
        named = cast("dict[Any, Any]", values["parts"])
        parts = [{"name": name, **part} if isinstance(part, dict) else part for name, part in named.items()]
        return {**values, "parts": parts}
    if "parts" in values:
        return values
    own = Spec.model_fields.keys() - {"folder"}
    whole = {key: value for key, value in values.items() if key in own}
    return {**whole, "parts": [{key: value for key, value in values.items() if key not in own}]}


def _written(loc: Sequence[Key], values: dict[Any, Any], shaped: dict[Any, Any]) -> list[Key]:
    """The file's keys for a place of the spec: parts may have names or be left out, and arms may be grids."""
    keys = list(loc)
    if len(keys) < 2 or keys[0] != "parts" or not isinstance(keys[1], int):
        return keys
    part, rest = shaped["parts"][keys[1]], keys[2:]
    if rest[:1] == ["arms"] and len(rest) > 1 and isinstance(part["arms"], list):
        arms = cast("list[object]", part["arms"])
        grid = [(index, place) for index, arm in enumerate(arms) for _, place in expand(arm)]
        rest[1], place = grid[cast("int", rest[1])]
        rest = _beside(rest, arms[rest[1]])
        rest += [place[str(rest[-1])]] if rest[-1] in place else []
    if "parts" not in values:
        return rest
    name = list(values["parts"])[keys[1]] if isinstance(values["parts"], dict) else keys[1]
    return ["parts", name, *rest]


def _beside(keys: list[Key], arm: object) -> list[Key]:
    """The keys of an optimizer's field where the file has it beside the optimizer."""
    recipe = cast("dict[Any, Any]", arm).get("recipe") if isinstance(arm, dict) else None
    if "optimizer" not in keys or not isinstance(recipe, dict):
        return keys
    at = keys.index("optimizer")
    field = keys[at + 2 :]  # behind the name of the branch
    return [*keys[:at], *field] if field and field[0] in recipe else keys


def _hint(kind: str, keys: Sequence[Key]) -> str:
    if kind in ("int_type", "float_type") and "recipe" in keys and keys[-1] not in AXES:
        return f"A list stands for a grid under {', '.join(f'`{key}`' for key in AXES)} alone; write one arm for each"
    if kind in ("model_type", "model_attributes_type") and keys[-2:-1] == ["recipe"]:
        union = {"adapter": Adapter, "optimizer": Optimizer}.get(str(keys[-1]))
        kinds: list[Any] = [branch.model_fields for branch in get_args(union)]
        alone = [kind["kind"].default for kind in kinds if not any(field.is_required() for field in kind.values())]
        return f"Or a kind alone: {', '.join(alone)}" if alone else ""
    return ""
