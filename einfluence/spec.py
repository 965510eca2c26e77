"""What to measure: frozen, validated models of the spec file, each part hashable with :mod:`einfluence.keys`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from einfluence.errors import InputError
from einfluence.keys import content_hash


class Model(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Adapter(Model):
    """Which parameters a probe may change.

    ``lora`` has peft's semantics (A is Kaiming-uniform, B is zero, scale alpha / r); ``full`` trains every parameter,
    ``last`` the output layer (a text model's head, tied or not; an image model's last Linear), ``match`` those
    whose name a regular expression finds.
    """

    kind: Literal["lora", "full", "last", "match"] = "lora"
    r: int = Field(default=8, ge=1, description="rank (lora)")
    alpha: float = Field(default=16.0, gt=0, description="scale is alpha / r (lora)")
    targets: str | tuple[str, ...] = Field(default="all-linear", description="module names as peft takes them (lora)")
    layers: tuple[int, ...] | None = Field(default=None, description="only these block indices (lora)")
    pattern: str | None = Field(default=None, description="regular expression on parameter names (match)")

    @model_validator(mode="after")
    def _pattern_compiles(self) -> Adapter:
        if (self.kind == "match") != (self.pattern is not None):
            raise ValueError("`pattern` with `kind: match`, and with it alone")
        if self.pattern is not None:
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise ValueError(f"a regular expression as `pattern` ({error})") from error
        return self


class Recipe(Model):
    """How a copy of the base is fine-tuned on one probe."""

    adapter: Adapter = Adapter()
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = Field(default=1e-3, ge=0)
    steps: int = Field(default=10, ge=0)
    momentum: float = Field(default=0.0, ge=0, lt=1, description="sgd only")
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="adam, adamw")
    eps: float = Field(default=1e-8, gt=0, description="adam, adamw")
    clip: float | None = Field(default=None, gt=0, description="largest gradient norm of a probe; null does not clip")
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"

    @field_validator("adapter", mode="before")
    @classmethod
    def _adapter_by_name(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """A short name for people."""
        adapter = {"lora": f"LoRA r{self.adapter.r}", "match": f"match {self.adapter.pattern}"}.get(
            self.adapter.kind, self.adapter.kind
        )
        optimizer = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[self.optimizer]
        return f"{adapter}, {optimizer}, lr {self.lr:g} × {self.steps}"


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


class _Arm(Model):
    @property
    def recipe_id(self) -> str:
        """Content hash of estimator and recipe."""
        return content_hash(self.model_dump(include={"estimator", "recipe"}))


class FineTune(_Arm):
    """The truth: a copy of the model is fine-tuned on the probe."""

    estimator: Literal["finetune"] = "finetune"
    recipe: Recipe = Recipe()
    restore: int = Field(
        default=0,
        ge=0,
        description="of so many probes, undo each layer's change in turn and ask again what they should have taught",
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
    probes: int | None = Field(
        default=None, ge=1, description="how many probe facts (a balanced, seeded draw); null takes all"
    )
    kinds: tuple[str, ...] | None = Field(default=None, description="only these kinds of relation; null takes all")
    depth: int = Field(default=1, ge=0, description="how many inference steps conclusions may take")
    seed: int = 0


class Images(Model):
    """Image probes and queries drawn from one source."""

    source: str = Field(
        default="digits", description="`digits`, a folder of class folders, a folder of IDX files, or a `datasets` id"
    )
    split: str | None = None
    probes: int = Field(default=100, ge=1, description="clean probes, balanced over classes")
    queries: int = Field(
        default=300, ge=1, description="queries, balanced over classes; the clean probes come first among them"
    )
    noise: dict[str, tuple[float, ...]] = Field(default_factory=dict, description="levels by noise family")
    label_flip: bool = Field(default=False, description="also each probe with a wrong label")
    seed: int = 0


class Source(Model):
    """A published data set in its own format, e.g. CounterFact."""

    name: str = Field(description="counterfact, pararel, ...; `einfluence curate --sources` lists them")
    path: str = Field(description="a file, a folder or a hub id")
    limit: int | None = Field(default=None, ge=1, description="how many items (a seeded draw); null takes all")
    seed: int = 0


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
    distance: tuple[str, ...] = Field(
        default=(), description="distance measures, the first is `relations.distance`; empty takes the default"
    )
    pairs: int = Field(
        default=4_000_000,
        ge=1,
        description="most pairs of which all are measured; beyond, each probe meets its claims and 8 to 64 others",
    )
    arms: tuple[Annotated[Arm, Field(discriminator="estimator")], ...] = Field(default=(FineTune(),), min_length=1)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    trust_remote_code: bool = False

    @field_validator("facts", mode="before")
    @classmethod
    def _facts_by_name(cls, value: object) -> object:
        return {"file": value} if isinstance(value, str) else value

    @field_validator("images", mode="before")
    @classmethod
    def _images_by_name(cls, value: object) -> object:
        return {"source": value} if isinstance(value, str) else value

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
        return [arm for item in cast("list[object]", value) for arm in _expand(item)]

    @model_validator(mode="after")
    def _one_source(self) -> Part:
        given = [key for key in ("facts", "samples", "images", "source") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of facts, samples, images, source (here: {', '.join(given) or 'none'})")
        if self.samples is None and (self.probes or self.queries or self.relations):
            raise ValueError("`probes`, `queries` and `relations` beside `samples` only")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("each seed once in `seeds`")
        return self


class Spec(Model):
    """A whole run: its parts and how the work is cut.

    ``shard`` and ``keep_deltas`` change no number, so they enter no hash of a cell.
    """

    name: str = "run"
    parts: tuple[Part, ...] = Field(min_length=1)
    shard: Annotated[int, Field(ge=1)] | None = Field(
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

    @model_validator(mode="after")
    def _names_differ(self) -> Spec:
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names):
            raise ValueError(f"parts with different names (here: {', '.join(names)})")
        byte_count(self.keep_deltas)
        return self

    def path(self, name: str) -> Path:
        """A path that the spec names, relative to the spec file's folder."""
        return self.folder / Path(name).expanduser()


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def byte_count(text: str) -> int:
    """Reads ``5GB`` as 5,000,000,000.

    Raises:
        ValueError: When it is no number with a unit of B, KB, MB, GB or TB.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMGT]?B?)\s*", str(text), re.IGNORECASE)
    unit = match[2].upper() if match else ""
    if not match or (unit and not unit.endswith("B")) or match[1].count(".") > 1:
        raise ValueError(f"a size such as 500MB or 5GB in `keep_deltas` (not {text!r})")
    return int(float(match[1]) * _UNITS[unit])


def load_spec(path: str | Path) -> Spec:
    """Reads a spec file (YAML).

    A file without ``parts`` is one part whose keys stand at the top.

    Raises:
        InputError: Naming file, line and key of everything that is missing, unknown or of the wrong type.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), str(error), "a readable spec file (YAML)", "`einfluence init` makes one") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{path}{line}", f"YAML that cannot be read ({problem})", "a mapping of keys") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}:1", f"{type(values).__name__}", "a mapping of keys such as base, samples, arms")
    shaped = _with_parts(cast("dict[Any, Any]", values))
    try:
        return Spec.model_validate({**shaped, "folder": path.resolve().parent})
    except ValidationError as error:
        raise _explain(error, path, root) from error


def _with_parts(values: dict[Any, Any]) -> dict[Any, Any]:
    if isinstance(values.get("parts"), dict):
        named = cast("dict[Any, Any]", values["parts"])
        parts = [{"name": name, **part} if isinstance(part, dict) else part for name, part in named.items()]
        return {**values, "parts": parts}
    if "parts" in values:
        return values
    whole = {key: value for key, value in values.items() if key in Spec.model_fields}
    return {**whole, "parts": [{key: value for key, value in values.items() if key not in Spec.model_fields}]}


def _expand(arm: object) -> list[object]:
    if not isinstance(arm, dict):
        return [arm]
    fields = {"estimator": "finetune", **cast("dict[str, Any]", arm)}
    recipe = fields.get("recipe")
    if not isinstance(recipe, dict):
        return [fields]
    recipe = cast("dict[str, Any]", recipe)
    axes = [key for key in ("lr", "steps") if isinstance(recipe.get(key), list)]
    grid = itertools.product(*(recipe[key] for key in axes))
    return [{**fields, "recipe": {**recipe, **dict(zip(axes, point, strict=True))}} for point in grid]


def _explain(error: ValidationError, path: Path, root: yaml.Node | None) -> InputError:
    """One message for the first fault, with the line it stands on."""
    first = error.errors()[0]
    loc = [item for item in first["loc"] if item not in ("finetune", "in_context")]
    line, keys = _locate(root, loc)
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    match first["type"]:
        case "extra_forbidden":
            found, expected = f"the unknown key `{loc[-1]}`", f"one of {_known_keys(loc)}"
        case "missing":
            found, expected = "nothing", f"`{loc[-1]}`, which is needed here"
        case "value_error":
            found, expected = "what does not fit together", message
        case _:
            found, expected = f"{first.get('input')!r:.80}", message
    more = f"{error.error_count() - 1} more fault(s) in this file" if error.error_count() > 1 else ""
    return InputError(f"{path}:{line} {keys}".rstrip(), found, expected, more)


def _locate(node: yaml.Node | None, loc: list[int | str]) -> tuple[int, str]:
    line = node.start_mark.line + 1 if node is not None else 1
    keys: list[str] = []
    for index, key in enumerate(loc):
        if index == 0 and key == "parts" and isinstance(node, yaml.MappingNode) and _child(node, "parts") is None:
            continue
        if index == 1 and not keys and isinstance(key, int):
            continue
        child = _child(node, key)
        keys.append(str(key))
        if child is None:
            break
        line, node = child
    return line, ".".join(keys)


def _child(node: yaml.Node | None, key: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        for index, (name, value) in enumerate(pairs):
            if name.value == key or index == key:
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line + 1, node.value[key]
    return None


_MODELS: Mapping[str, type[Model]] = {
    "adapter": Adapter,
    "recipe": Recipe,
    "arms": FineTune,
    "facts": Facts,
    "images": Images,
    "source": Source,
    "parts": Part,
}


def _known_keys(loc: list[int | str]) -> str:
    parents = [item for item in loc[:-1] if isinstance(item, str)]
    model = _MODELS.get(parents[-1], Spec) if parents else Spec
    return ", ".join(name for name in model.model_fields if name != "folder")
