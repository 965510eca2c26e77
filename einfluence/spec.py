"""What to measure: frozen, validated models of the spec file, each part hashable with :mod:`einfluence.keys`."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.yamlfile import Key, read, refused

AXES = ("lr", "steps")  # of a recipe, under which a list stands for a grid


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_number)]
Seed = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_number)]


class Model(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _changed(values: Model, but: Iterable[str] = ()) -> dict[str, Any]:
    """The fields that differ from their defaults, as plain data: a field that is added later changes no hash."""
    fields = type(values).model_fields
    return {
        name: value
        for name, field in fields.items()
        if name not in but and (value := getattr(values, name)) != field.default
    }


class _Kind(Model):
    """One branch of a union: ``kind`` says which."""

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number: its kind, and what differs from the defaults; not the order of a list."""
        found = _changed(self, but=("kind",))
        lists = {name: sorted(set(found[name])) for name in ("targets", "layers") if isinstance(found.get(name), tuple)}
        return {"kind": cast("Any", self).kind, **found, **lists}


class Lora(_Kind):
    """Low-rank adapters with peft's semantics: A is Kaiming-uniform, B is zero, the scale alpha / r."""

    kind: Literal["lora"] = "lora"
    r: Int = Field(default=8, ge=1, description="rank")
    alpha: Float = Field(default=16.0, gt=0, description="scale is alpha / r")
    targets: str | tuple[str, ...] = Field(default="all-linear", description="module names as peft takes them")
    layers: tuple[Int, ...] | None = Field(default=None, description="only these block indices")

    @property
    def label(self) -> str:
        """A short name for people."""
        return f"LoRA r{self.r}"


class Full(_Kind):
    """Every parameter."""

    kind: Literal["full"] = "full"

    @property
    def label(self) -> str:
        """A short name for people."""
        return "full"


class Last(_Kind):
    """The output layer: a text model's head, tied or not; an image model's last Linear."""

    kind: Literal["last"] = "last"

    @property
    def label(self) -> str:
        """A short name for people."""
        return "last"


class Match(_Kind):
    """The parameters whose name a regular expression finds."""

    kind: Literal["match"] = "match"
    pattern: str = Field(description="regular expression on parameter names")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"a regular expression as `pattern` ({error})") from error
        return value

    @property
    def label(self) -> str:
        """A short name for people."""
        return f"match {self.pattern}"


Adapter = Lora | Full | Last | Match
"""Which parameters a probe may change."""


class Sgd(_Kind):
    """:class:`torch.optim.SGD`."""

    kind: Literal["sgd"] = "sgd"
    lr: Float = Field(default=1e-3, ge=0)
    weight_decay: Float = Field(default=0.0, ge=0)
    momentum: Float = Field(default=0.0, ge=0, lt=1)

    @property
    def label(self) -> str:
        """A short name for people."""
        return "SGD"


class Adam(_Kind):
    """:class:`torch.optim.Adam`."""

    kind: Literal["adam"] = "adam"
    lr: Float = Field(default=1e-3, ge=0)
    weight_decay: Float = Field(default=0.0, ge=0)
    betas: tuple[Float, Float] = (0.9, 0.999)
    eps: Float = Field(default=1e-8, gt=0)

    @property
    def label(self) -> str:
        """A short name for people."""
        return "Adam"


class AdamW(_Kind):
    """:class:`torch.optim.AdamW`; like all of them here, without weight decay unless it is asked for."""

    kind: Literal["adamw"] = "adamw"
    lr: Float = Field(default=1e-3, ge=0)
    weight_decay: Float = Field(default=0.0, ge=0)
    betas: tuple[Float, Float] = (0.9, 0.999)
    eps: Float = Field(default=1e-8, gt=0)

    @property
    def label(self) -> str:
        """A short name for people."""
        return "AdamW"


Optimizer = Sgd | Adam | AdamW
"""What moves the parameters, as torch defines it."""

_OF_OPTIMIZER = ("lr", "weight_decay", "momentum", "betas", "eps")


def _short_forms(schema: dict[str, Any]) -> None:
    """What editors may take beside the whole form: a union's kind alone, and the optimizer's fields beside it."""
    properties = schema["properties"]
    for name, union in (("adapter", Adapter), ("optimizer", Optimizer)):
        kinds = [branch.model_fields["kind"].default for branch in get_args(union)]
        properties[name] = {"anyOf": [{"enum": kinds}, properties[name]]}
    for name in _OF_OPTIMIZER:
        properties[name] = {"description": f"as `{name}` under `optimizer`"}


class Recipe(Model):
    """How a copy of the base is fine-tuned on one probe.

    A spec may write a union's kind alone (``adapter: full``), leave out the kind of the default, and write the
    optimizer's fields beside it: ``{optimizer: sgd, lr: 0.1}`` is ``{optimizer: {kind: sgd, lr: 0.1}}``.
    """

    model_config = ConfigDict(json_schema_extra=_short_forms)
    beside: ClassVar[tuple[str, ...]] = ("optimizer",)

    adapter: Adapter = Field(default=Lora(), discriminator="kind")
    optimizer: Optimizer = Field(default=AdamW(), discriminator="kind")
    steps: Int = Field(default=10, ge=0)
    clip: Annotated[float, Field(gt=0), BeforeValidator(_number)] | None = Field(
        default=None, description="largest gradient norm of a probe; null does not clip"
    )
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _whole_form(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        given = dict(cast("dict[Any, Any]", values))
        beside = {name: given.pop(name) for name in _OF_OPTIMIZER if name in given}
        optimizer = _of_kind(given.get("optimizer", {}), "adamw")
        if beside and isinstance(optimizer, dict):
            twice = [name for name in beside if name in optimizer]
            if twice:
                raise ValueError(f"`{twice[0]}` once: under `optimizer`, or beside it")
            optimizer = {**optimizer, **beside}
        return {**given, "adapter": _of_kind(given.get("adapter", {}), "lora"), "optimizer": optimizer}

    @property
    def label(self) -> str:
        """A short name for people."""
        return f"{self.adapter.label}, {self.optimizer.label}, lr {self.optimizer.lr:g} × {self.steps}"

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number: the chosen adapter and optimizer, and what differs from the defaults."""
        rest = _changed(self, but=("adapter", "optimizer"))
        return {"adapter": self.adapter.key, "optimizer": self.optimizer.key, **rest}

    @property
    def draws(self) -> bool:
        """Whether a seed changes anything: only the start values of LoRA are drawn."""
        return self.adapter.kind == "lora"

    @property
    def written(self) -> dict[str, Any]:
        """All fields in the short form, the optimizer's beside its name: so SQL finds ``$.lr`` whatever the kind."""
        fields = self.model_dump()
        optimizer = fields.pop("optimizer")
        return {"optimizer": optimizer.pop("kind"), **fields, **optimizer}

    def with_lr(self, lr: float) -> Recipe:
        """The same with another learning rate."""
        return self.model_copy(update={"optimizer": self.optimizer.model_copy(update={"lr": lr})})


def _of_kind(value: object, default: str) -> object:
    """What a union's branch is read from: its kind alone, or a mapping that may leave out that of the default."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": default, **cast("dict[Any, Any]", value)} if isinstance(value, dict) else value


class Prompting(Model):
    """How a probe is put into the prompt instead (estimator ``in_context``): its text, ``join``, the query's prompt."""

    join: str | None = Field(
        default=None, description="between probe and query; null takes the base's own, else a newline"
    )
    chat: bool = Field(default=False, description="wrap the probe as a user turn with the tokenizer's chat template")
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"

    @property
    def label(self) -> str:
        """A short name for people."""
        return "in the prompt" + (" (chat)" if self.chat else "")

    @property
    def written(self) -> dict[str, Any]:
        """All fields."""
        return self.model_dump()

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number: the fields that are not the defaults."""
        return _changed(self)

    @property
    def draws(self) -> bool:
        """Whether a seed changes anything."""
        return False


class _Arm(Model):
    @property
    def recipe_id(self) -> str:
        """Content hash of the estimator and of what in the recipe can change a number."""
        arm = cast("Arm", self)
        return content_hash((arm.estimator, arm.recipe.key))

    @property
    def row(self) -> dict[str, Any]:
        """What the table ``recipes`` says of it."""
        arm = cast("Arm", self)
        fields = json.dumps(arm.recipe.written, sort_keys=True)
        return {"recipe": arm.recipe_id, "estimator": arm.estimator, "label": arm.recipe.label, "json": fields}


class FineTune(_Arm):
    """The truth: a copy of the model is fine-tuned on the probe."""

    estimator: Literal["finetune"] = "finetune"
    recipe: Recipe = Recipe()
    restore: Int = Field(
        default=0,
        ge=0,
        description="of so many probes, undo each layer's change in turn and ask again what they should have taught",
    )
    engine: Literal["auto", "serial"] = Field(
        default="auto",
        description="`serial` computes missing cells by the definition, one probe and one query at a time",
    )


class InContext(_Arm):
    """The probe stands in the prompt instead, and nothing is trained."""

    estimator: Literal["in_context"] = "in_context"
    recipe: Prompting = Prompting()


Arm = FineTune | InContext
"""One way of giving the model a probe: an estimator and its recipe."""


class Facts(Model):
    """Probes and queries derived from a facts file."""

    file: str = Field(default="world", description="a facts file (YAML), or `world` for the one that is shipped")
    domains: tuple[str, ...] | None = Field(default=None, description="only these knowledge domains")
    probes: Count | None = Field(
        default=None, description="how many probe facts (a balanced, seeded draw); null takes all"
    )
    kinds: tuple[str, ...] | None = Field(default=None, description="only these kinds of relation; null takes all")
    depth: Int = Field(default=1, ge=0, description="how many inference steps conclusions may take")
    seed: Seed = 0


class Images(Model):
    """Image probes and queries drawn from one source."""

    source: str = Field(
        default="digits", description="`digits`, a folder of class folders, a folder of IDX files, or a `datasets` id"
    )
    split: str | None = None
    probes: Int = Field(default=100, ge=1, description="clean probes, balanced over classes")
    queries: Int = Field(
        default=300, ge=1, description="queries, balanced over classes; the clean probes come first among them"
    )
    noise: dict[str, tuple[Float, ...]] = Field(default_factory=dict, description="levels by noise family")
    label_flip: bool = Field(default=False, description="also each probe with a wrong label")
    seed: Seed = 0


class Source(Model):
    """A published data set in its own format, e.g. CounterFact."""

    name: str = Field(description="counterfact, pararel, ...; `einfluence curate --sources` lists them")
    path: str = Field(description="a file, a folder or a hub id")
    split: str | None = Field(default=None, description="train, test, ... of a folder or hub id; null reads all")
    limit: Count | None = Field(default=None, description="how many items (a seeded draw); null takes all")
    seed: Seed = 0


class Part(Model):
    """One experiment: a base, the data, and the arms. Exactly one of facts, samples, images, source gives the data."""

    name: str = "main"
    base: str = Field(description="hub id[@revision], a folder, or embedded:NAME")
    facts: Facts | None = None
    samples: str | None = Field(
        default=None, description="JSONL, CSV or Parquet of {id, prompt, target, group?} or {id, image, label}"
    )
    probes: str | None = Field(default=None, description="{id, samples: [..]}; by default every sample is a probe")
    queries: str | None = Field(
        default=None, description="text file of sample ids, one a line; by default every sample"
    )
    relations: str | None = Field(default=None, description="{probe, query, kind, level?, distance?}")
    images: Images | None = None
    source: Source | None = None
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
    pairs: Int = Field(
        default=4_000_000,
        ge=1,
        description="most pairs of which all are measured; beyond, each probe meets its claims and 8 to 64 others",
    )
    arms: tuple[Annotated[Arm, Field(discriminator="estimator")], ...] = Field(default=(FineTune(),), min_length=1)
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1)
    trust_remote_code: bool = False

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
        return [arm for item in cast("list[object]", value) for arm, _ in _expand(item)]

    @field_validator("arms")
    @classmethod
    def _arms_differ(cls, value: tuple[Arm, ...]) -> tuple[Arm, ...]:
        ids = [arm.recipe_id for arm in value]
        twice = next((arm for arm in value if ids.count(arm.recipe_id) > 1), None)
        if twice is not None:
            raise ValueError(f"each arm once in `arms` (twice: {twice.recipe.label})")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each seed once in `seeds`")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Part:
        given = [key for key in ("facts", "samples", "images", "source") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of facts, samples, images, source (here: {', '.join(given) or 'none'})")
        if self.samples is None and (self.probes or self.queries or self.relations):
            raise ValueError("`probes`, `queries` and `relations` beside `samples` only")
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

    def path(self, name: str) -> Path:
        """A path that the spec names, relative to the spec file's folder."""
        return self.folder / os.path.expanduser(name)


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def byte_count(text: str) -> int:
    """Reads ``5GB`` as 5,000,000,000.

    Raises:
        ValueError: When it is no number with a unit of B, KB, MB, GB or TB.
    """
    match = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*((?:[KMGT]?B)?)\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"a size such as 500MB or 5GB (not {text!r})")
    return int(float(match[1]) * _UNITS[match[2].upper()])


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


def _expand(arm: object) -> list[tuple[object, dict[str, int]]]:
    """The arms of a grid, each with the position of its value in the list under each axis."""
    if not isinstance(arm, dict):
        return [(arm, {})]
    fields = {"estimator": "finetune", **cast("dict[Any, Any]", arm)}
    recipe = fields.get("recipe")
    if not isinstance(recipe, dict):
        return [(fields, {})]
    recipe = cast("dict[Any, Any]", recipe)
    optimizer = cast("dict[Any, Any]", recipe["optimizer"]) if isinstance(recipe.get("optimizer"), dict) else {}
    written = {**{key: optimizer[key] for key in AXES if key in optimizer}, **recipe}
    axes = [key for key in AXES if isinstance(written.get(key), list) and written[key]]
    grid = itertools.product(*(range(len(written[key])) for key in axes))
    places = [dict(zip(axes, point, strict=True)) for point in grid]
    return [({**fields, "recipe": _at(recipe, optimizer, place)}, place) for place in places]


def _at(recipe: dict[Any, Any], optimizer: dict[Any, Any], place: dict[str, int]) -> dict[Any, Any]:
    """One point of a grid, its values where their lists stood: in the recipe, or under ``optimizer``."""
    here = {key: recipe[key][at] for key, at in place.items() if key in recipe}
    below = {key: optimizer[key][at] for key, at in place.items() if key not in recipe}
    return {**recipe, **here, **({"optimizer": {**optimizer, **below}} if below else {})}


def _written(loc: Sequence[Key], values: dict[Any, Any], shaped: dict[Any, Any]) -> list[Key]:
    """The file's keys for a place of the spec: parts may have names or be left out, and arms may be grids."""
    keys = list(loc)
    if len(keys) < 2 or keys[0] != "parts" or not isinstance(keys[1], int):
        return keys
    part, rest = shaped["parts"][keys[1]], keys[2:]
    if rest[:1] == ["arms"] and len(rest) > 1 and isinstance(part["arms"], list):
        arms = cast("list[object]", part["arms"])
        grid = [(index, place) for index, arm in enumerate(arms) for _, place in _expand(arm)]
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
        return (
            f"A list stands for a grid under {' and '.join(f'`{key}`' for key in AXES)} alone; write one arm for each"
        )
    return ""
