"""What a facts file holds, and the checked world that it becomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from einfluence.curate.facts import templates
from einfluence.yamlfile import Document

Triplet = tuple[str, str, str]
"""(subject, relation, object)"""

FORMS = ("statement", "paraphrases", "question", "negation", "double_negation", "reversed", "contrapositive")


class Model(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Relation(Model):
    """A relation between a subject and an object, with the sentences that state it.

    In every template the last slot is the target and ends the sentence. It is the object, but for ``reversed``,
    where it is the subject, and ``contrapositive``, where it may be either.
    """

    domain: str = Field(min_length=1, description="the knowledge domain that results are grouped by")
    subject: tuple[str, ...] = Field((), description="class or classes of entities that may be its subject")
    object: tuple[str, ...] = Field((), description="class or classes of entities that may be its object")
    statement: str = Field(description='e.g. "{subject} has {object}"')
    paraphrases: tuple[str, ...] = Field((), description="the same fact in other words")
    question: tuple[str, ...] = Field((), description="the same fact as question and answer; counts as a paraphrase")
    negation: tuple[str, ...] = Field((), description="the denial, with the same object as target")
    double_negation: tuple[str, ...] = Field((), description="the denial of the denial")
    reversed: tuple[str, ...] = Field((), description="the same fact stated from the object: the subject is the target")
    contrapositive: tuple[str, ...] = Field((), description="not the object, hence not the subject")
    inverse: str | None = Field(None, description="the relation that holds from object to subject")
    symmetric: bool = Field(False, description="holds from object to subject as well")
    exclusive: bool = Field(False, description="a subject has one object only")

    @field_validator("subject", "object", *FORMS[1:], mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return () if value is None else (value,) if isinstance(value, str) else value

    @field_validator(*FORMS)
    @classmethod
    def _templates_parse(cls, value: str | tuple[str, ...], info: Any) -> str | tuple[str, ...]:
        ends = {"reversed": ("subject",), "contrapositive": ("subject", "object")}.get(info.field_name, ("object",))
        for text in (value,) if isinstance(value, str) else value:
            target = templates.parse(text).target
            if target not in ends:
                raise ValueError(
                    f"{text!r} ends with {{{target}}}; the last slot of `{info.field_name}` is {{{ends[0]}}}"
                )
        return value

    @model_validator(mode="after")
    def _negation_differs(self) -> Relation:
        same = [text for text in self.negation if text == self.statement]
        if same:
            raise ValueError(f"the negation {same[0]!r} is the statement itself")
        return self

    @property
    def forms(self) -> Iterator[tuple[str, str]]:
        """Pairs of (form, template), the statement first."""
        yield "statement", self.statement
        for form in FORMS[1:]:
            for text in cast("tuple[str, ...]", getattr(self, form)):
                yield form.removesuffix("s") if form == "paraphrases" else form, text


class Rule(Model):
    """If all premises hold, so does the conclusion. ``?x`` is a variable; relations are named."""

    name: str
    premises: tuple[Triplet, ...] = Field(alias="if", min_length=1)
    then: Triplet

    @model_validator(mode="after")
    def _bound(self) -> Rule:
        patterns = (*self.premises, self.then)
        if any(relation.startswith("?") for _, relation, _ in patterns):
            raise ValueError(f"rule {self.name!r} has a variable for a relation; name the relation")
        bound = {term for subject, _, obj in self.premises for term in (subject, obj) if term.startswith("?")}
        free = [term for term in (self.then[0], self.then[2]) if term.startswith("?") and term not in bound]
        if free:
            raise ValueError(f"rule {self.name!r} concludes about {free[0]}, which no premise names")
        return self


class Invented(Model):
    """Names that do not exist, drawn from a seed."""

    invent: int = Field(ge=1, description="how many")
    seed: int = 0
    style: Literal["short", "long"] = Field("short", description="one syllable, or two")


class Drawn(Model):
    """Probe facts drawn by seed: each subject gets one of the objects."""

    relation: str
    subjects: str | tuple[str, ...] = Field(description="a class of entities, or names")
    objects: str | tuple[str, ...] = Field(description="a class of entities, or names")
    seed: int = 0


class FactsFile(Model):
    """A small world: relations, entities by class, what is known (triplets), rules, and the new facts to probe."""

    name: str = "facts"
    relations: dict[str, Relation] = Field(min_length=1)
    entities: dict[str, tuple[str, ...] | Invented] = {}
    triplets: tuple[Triplet, ...] = ()
    rules: tuple[Rule, ...] = ()
    probes: tuple[Triplet | Drawn, ...] = Field(min_length=1)


@dataclass(frozen=True)
class World:
    """A checked facts file.

    Args:
        file: The schema's content.
        entities: Names by class, invented ones included.
        probes: The probe facts, drawn ones included, without repetition.
        path: Where it was read from.
        document: What was read, for messages, where it is one file of YAML.
    """

    file: FactsFile
    entities: dict[str, tuple[str, ...]]
    probes: tuple[Triplet, ...]
    path: Path
    document: Document | None = None

    def where(self, *keys: str | int) -> str:
        """``world.yaml:12 triplets.3``, for messages."""
        return (self.document or Document(self.path, {}, None)).where(*keys)

    @cached_property
    def order(self) -> dict[str, int]:
        """Rank of every name: classes in the file's order, then names that no class declares, by the alphabet."""
        declared = dict.fromkeys(name for names in self.entities.values() for name in names)
        used = {name for fact in (*self.file.triplets, *self.probes) for name in (fact[0], fact[2])}
        return {name: rank for rank, name in enumerate([*declared, *sorted(used - declared.keys())])}
