"""The one reader of facts files: to a checked world, names invented, probe facts drawn, logic checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from einfluence.curate.facts.infer import check
from einfluence.curate.facts.names import invented_names
from einfluence.curate.facts.schema import Drawn, FactsFile, Invented, Triplet, World
from einfluence.embedded import data_folder
from einfluence.errors import InputError
from einfluence.faults import refused
from einfluence.keys import content_hash
from einfluence.spec import Spec
from einfluence.yamlfile import Document, read


def facts_path(name: str, spec: Spec) -> Path:
    """Where a facts file lies: the shipped one of that name, else the user's own."""
    shipped = data_folder() / "facts" / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    own = spec.path(name)
    if own.is_file():
        return own
    there = ", ".join(sorted(path.stem for path in (data_folder() / "facts").glob("*.yaml")))
    raise InputError("facts.file", f"no file {str(own)!r}", f"a facts file, or one that is shipped ({there})")


def load_world(path: Path, spell: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None) -> World:
    """Reads and checks a facts file; like :func:`read_world`, but without the places of its keys.

    The tree that holds them is large where the file is.
    """
    return dataclasses.replace(read_world(path, spell), document=None)


def read_world(path: Path, spell: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None) -> World:
    """Reads and checks a facts file, and keeps where each of its keys stands.

    Args:
        path: The YAML file.
        spell: The base's tokenizer, so that invented names are ones that it can spell.

    Raises:
        InputError: With file, line and key, for whatever is wrong with its shape or its logic.
    """
    facts, document = _parse(path)
    entities = _entities(facts, document, spell)
    world = World(facts, entities, tuple(_probes(facts, entities, document)), path, document)
    check(world)
    return world


def _parse(path: Path) -> tuple[FactsFile, Document]:
    """Reads a facts file and checks its shape (not yet its logic).

    Raises:
        InputError: For the first fault, with file, line and key, and where the others are.
    """
    document = read(path, "facts file", "`facts: world` is the shipped one")
    try:
        return FactsFile.model_validate(document.values), document
    except ValidationError as error:
        raise refused(error, document, FactsFile, hint=_hint) from error


def _hint(kind: str, keys: Sequence[str | int]) -> str:
    short = kind in ("missing", "too_long") and keys[0] in ("probes", "triplets", "rules")
    return "A fact is [subject, relation, object]" if short else ""


def _entities(
    facts: FactsFile, document: Document, spell: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None
) -> dict[str, tuple[str, ...]]:
    taken = {name for names in facts.entities.values() if isinstance(names, tuple) for name in names}
    taken |= {name for subject, _, obj in facts.triplets for name in (subject, obj)}
    for relation in facts.relations.values():
        taken |= {word for _, text in relation.forms for word in text.split() if "{" not in word}
    entities: dict[str, tuple[str, ...]] = {}
    for kind, names in facts.entities.items():
        if isinstance(names, Invented):
            try:
                names = tuple(invented_names(names.invent, names.seed, style=names.style, taken=taken, spell=spell))
            except InputError as error:
                raise InputError(document.where("entities", kind), error.found, error.expected, error.fix) from error
            taken |= set(names)
        elif len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(document.where("entities", kind), f"{twice!r} twice", "different names")
        entities[kind] = names
    return entities


def _probes(facts: FactsFile, entities: dict[str, tuple[str, ...]], document: Document) -> list[Triplet]:
    found: dict[Triplet, None] = {}
    for index, entry in enumerate(facts.probes):
        if isinstance(entry, tuple):
            found[entry] = None
            continue
        where = document.where("probes", index)
        if entry.relation not in facts.relations:
            raise InputError(where, f"the unknown relation {entry.relation!r}", f"one of {', '.join(facts.relations)}")
        subjects, objects = (_named(names, entities, where) for names in (entry.subjects, entry.objects))
        for subject in subjects:
            found[subject, entry.relation, _draw(entry, subject, objects)] = None
    return list(found)


def _draw(entry: Drawn, subject: str, objects: Sequence[str]) -> str:
    return min(objects, key=lambda name: content_hash(("draw", entry.seed, entry.relation, subject, name)))


def _named(names: str | tuple[str, ...], entities: dict[str, tuple[str, ...]], where: str) -> tuple[str, ...]:
    if isinstance(names, tuple):
        return names
    if names not in entities:
        raise InputError(where, f"the unknown class {names!r}", f"one of {', '.join(entities)}, or a list of names")
    return entities[names]
