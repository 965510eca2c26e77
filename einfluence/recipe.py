"""How a probe is given to a model: adapters, optimizers and recipes, each a frozen record that can be hashed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_number)]
Count = Annotated[int, Field(ge=1), BeforeValidator(_number)]
Seed = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_number)]


M = TypeVar("M", bound="Model")


class Model(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def only(self, kind: type[M]) -> M:
        """The fields of a kind that it extends, as that kind."""
        return kind.model_validate({name: getattr(self, name) for name in kind.model_fields})


def changed(values: Model, but: Iterable[str] = ()) -> dict[str, Any]:
    """The fields that differ from their defaults, as plain data: a field that is added later changes no hash."""
    fields = type(values).model_fields
    return {
        name: value
        for name, field in fields.items()
        if name not in but and (value := getattr(values, name)) != field.default
    }


def named(values: Model, names: Iterable[str]) -> list[str]:
    """Those of some fields that differ from their defaults, for a label: no two arms of a spec are called the same."""
    found = changed(values)
    return [value if name == "dtype" else f"{name} {_shown(value)}" for name in names if (value := found.get(name))]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{' '.join(map(_shown, cast('tuple[object, ...]', value)))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


# Branches are frozen, so that each may narrow the kind that it inherits.
# pyright: reportIncompatibleVariableOverride=false


class _Kind(Model):
    """One branch of a union: ``kind`` says which."""

    kind: str

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number: its kind, and what differs from the defaults; not the order of a list."""
        found = changed(self, but=("kind",))
        lists = {name: sorted(set(found[name])) for name in ("targets", "layers") if isinstance(found.get(name), tuple)}
        return {"kind": self.kind, **found, **lists}


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
        return " ".join([f"LoRA r{self.r}", *named(self, ("alpha", "targets", "layers"))])


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


class _Descent(_Kind):
    """What all optimizers have."""

    lr: Float = Field(default=1e-3, ge=0)
    weight_decay: Float = Field(default=0.0, ge=0)


class _Adaptive(_Descent):
    """What those have that divide by the root of a second moment."""

    betas: tuple[Float, Float] = (0.9, 0.999)
    eps: Float = Field(default=1e-8, gt=0)


class Sgd(_Descent):
    """:class:`torch.optim.SGD`."""

    kind: Literal["sgd"] = "sgd"
    momentum: Float = Field(default=0.0, ge=0, lt=1)

    @property
    def label(self) -> str:
        """A short name for people."""
        return " ".join(["SGD", *named(self, ("momentum", "weight_decay"))])


class Adam(_Adaptive):
    """:class:`torch.optim.Adam`."""

    kind: Literal["adam"] = "adam"

    @property
    def label(self) -> str:
        """A short name for people."""
        return " ".join(["Adam", *named(self, ("betas", "eps", "weight_decay"))])


class AdamW(_Adaptive):
    """:class:`torch.optim.AdamW`; like all of them here, without weight decay unless it is asked for."""

    kind: Literal["adamw"] = "adamw"

    @property
    def label(self) -> str:
        """A short name for people."""
        return " ".join(["AdamW", *named(self, ("betas", "eps", "weight_decay"))])


Optimizer = Sgd | Adam | AdamW
"""What moves the parameters, as torch defines it."""

_OF_OPTIMIZER = ("lr", "weight_decay", "momentum", "betas", "eps")


def _fields_by_kind(union: Any) -> dict[str, set[str]]:
    """The fields of each branch of a union."""
    return {branch.model_fields["kind"].default: set(branch.model_fields) for branch in get_args(union)}


def _of_others(union: Any, kind: object) -> set[str]:
    """The fields that branches of a union have, but not the one of a kind; none where no branch is of that kind."""
    known = _fields_by_kind(union)
    return set().union(*known.values()) - known[kind] if isinstance(kind, str) and kind in known else set()


def of_its_kinds(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A written recipe without the fields that only other kinds of adapter or optimizer have.

    Stores keep recipes as they were first written, and earlier versions wrote the fields of all kinds.
    """
    adapter = fields.get("adapter")
    rest = {name: value for name, value in fields.items() if name not in _of_others(Optimizer, fields.get("optimizer"))}
    if not isinstance(adapter, dict):
        return rest
    given = cast("dict[str, Any]", adapter)
    others = _of_others(Adapter, given.get("kind"))
    return {**rest, "adapter": {name: value for name, value in given.items() if name not in others}}


def _short_forms(schema: dict[str, Any]) -> None:
    """What editors may take beside the whole form: a union's kind alone, and the optimizer's fields beside it."""
    properties = schema["properties"]
    for name, union in (("adapter", Adapter), ("optimizer", Optimizer)):
        properties[name] = {"anyOf": [{"enum": list(_fields_by_kind(union))}, properties[name]]}
    for name in _OF_OPTIMIZER:
        properties[name] = {"description": f"as `{name}` under `optimizer`"}


class Keyed(Model):
    """What says how a probe is given to a model. Subclasses name it for people, and say whether a seed matters."""

    @property
    def label(self) -> str:
        """A short name for people."""
        raise NotImplementedError

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number: by default the fields that differ from their defaults."""
        return changed(self)

    @property
    def written(self) -> dict[str, Any]:
        """All fields, as a spec may have them."""
        return self.model_dump()

    @property
    def draws(self) -> bool:
        """Whether a seed changes anything."""
        return False

    @property
    def reads_in(self) -> str:
        """The dtype that the base's weights are read in."""
        return getattr(self, "dtype", "float32")


class Tuning(Keyed):
    """What a copy of the base is trained with, however long and on whatever.

    A spec may write a union's kind alone (``adapter: full``), leave out the kind of the default, and write the
    optimizer's fields beside it: ``{optimizer: sgd, lr: 0.1}`` is ``{optimizer: {kind: sgd, lr: 0.1}}``.
    """

    model_config = ConfigDict(json_schema_extra=_short_forms)
    beside: ClassVar[tuple[str, ...]] = ("optimizer",)

    adapter: Adapter = Field(default=Lora(), discriminator="kind")
    optimizer: Optimizer = Field(default=AdamW(), discriminator="kind")
    clip: Annotated[float, Field(gt=0), BeforeValidator(_number)] | None = Field(
        default=None, description="largest gradient norm of a step; null does not clip"
    )
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"

    @model_validator(mode="before")
    @classmethod
    def _whole_form(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        given = dict(cast("dict[Any, Any]", values))
        beside = {name: given.pop(name) for name in _OF_OPTIMIZER if name in given}
        optimizer = of_kind(given.get("optimizer", {}), "adamw")
        if beside and isinstance(optimizer, dict):
            twice = [name for name in beside if name in optimizer]
            if twice:
                raise ValueError(f"`{twice[0]}` once: under `optimizer`, or beside it")
            optimizer = {**optimizer, **beside}
        return {**given, "adapter": of_kind(given.get("adapter", {}), "lora"), "optimizer": optimizer}

    @property
    def label(self) -> str:
        """A short name for people."""
        rest = named(self, ("clip", "dtype"))
        return ", ".join([self.adapter.label, self.optimizer.label, *rest, f"lr {self.optimizer.lr:g}"])

    @property
    def key(self) -> dict[str, Any]:
        """What of it can change a number: the chosen adapter and optimizer, and what differs from the defaults."""
        rest = changed(self, but=("adapter", "optimizer"))
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


class Recipe(Tuning):
    """How a copy of the base is fine-tuned on one probe."""

    steps: Int = Field(default=10, ge=0)

    @property
    def label(self) -> str:
        """A short name for people."""
        return f"{super().label} × {self.steps}"

    def with_lr(self, lr: float) -> Recipe:
        """The same with another learning rate."""
        return self.model_copy(update={"optimizer": self.optimizer.model_copy(update={"lr": lr})})


def of_kind(value: object, default: str) -> object:
    """What a union's branch is read from: its kind alone, or a mapping that may leave out that of the default."""
    if isinstance(value, str):
        return {"kind": value}
    return {"kind": default, **cast("dict[Any, Any]", value)} if isinstance(value, dict) else value


class Prompting(Keyed):
    """How a probe is put into the prompt instead (estimator ``in_context``): its text, ``join``, the query's prompt."""

    join: str | None = Field(
        default=None, description="between probe and query; null takes the base's own, else a newline"
    )
    chat: bool = Field(default=False, description="wrap the probe as a user turn with the tokenizer's chat template")
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"

    @property
    def label(self) -> str:
        """A short name for people."""
        join = [] if self.join is None else [f"join {self.join!r}"]
        return ", ".join(["in the prompt" + (" (chat)" if self.chat else ""), *join, *named(self, ("dtype",))])
