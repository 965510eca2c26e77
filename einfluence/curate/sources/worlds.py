"""Sets of triplets with templates: ParaRel, LAMA, LRE, plain triplets. Facts and templates make the samples."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from einfluence.curate.builder import Gates
from einfluence.curate.facts import templates
from einfluence.curate.facts.schema import FactsFile, Relation, Triplet, World
from einfluence.curate.sources.cases import DUPLICATE, NEGATION, NOT_AT_END, UNREADABLE
from einfluence.curate.sources.rows import Place, mapping, objects, optional, rows, text, texts, word
from einfluence.curate.wording import normalise
from einfluence.errors import InputError


def _world(name: str, path: Place, relations: Mapping[str, Relation], facts: Iterable[Triplet], gates: Gates) -> World:
    """A world whose every fact may be a probe; facts of relations without a usable template are left out."""
    gates.open(DUPLICATE, UNREADABLE)
    kept: dict[tuple[str, str, str], Triplet] = {}
    for fact in facts:
        if fact[1] not in relations or not fact[0].strip() or not fact[2].strip():
            gates.count(UNREADABLE, " ".join(fact))
        elif (key := (normalise(fact[0]), fact[1], normalise(fact[2]))) in kept:
            gates.count(DUPLICATE, f"{' '.join(fact)} = {' '.join(kept[key])}")
        else:
            kept[key] = fact
    if not kept:
        raise InputError(str(path), "no fact with a template", f"the files of {name}; see docs/curation.md")
    probes = tuple(kept.values())
    file = FactsFile.model_construct(
        name=name, relations=dict(relations), entities={}, triplets=(), rules=(), probes=probes
    )
    return World(file, {}, probes, Path(str(path)))


def _relation(domain: str, patterns: Iterable[str], gates: Gates, negations: Iterable[str] = ()) -> Relation | None:
    """A relation from patterns with [X] and [Y]: those that end in [Y] state it, those that end in [X] reverse it."""
    gates.open(NOT_AT_END)
    forward: list[str] = []
    backward: list[str] = []
    for pattern in patterns:
        slotted = _slotted(pattern)
        target = _target(slotted)
        if target is None:
            gates.count(NOT_AT_END, pattern)
        else:
            (forward if target == "object" else backward).append(slotted)
    denials: list[str] = []
    for pattern in negations:
        slotted = _slotted(pattern)
        gate = NOT_AT_END if _target(slotted) != "object" else NEGATION if slotted in forward else None
        gates.open(NEGATION)
        if gate is None:
            denials.append(slotted)
        else:
            gates.count(gate, pattern)
    if not forward:
        return None
    forward, backward = list(dict.fromkeys(forward)), list(dict.fromkeys(backward))
    fields = {"paraphrases": forward[1:], "negation": list(dict.fromkeys(denials)), "reversed": backward}
    return Relation.model_validate({"domain": domain, "statement": forward[0], **fields})


def _slotted(pattern: str) -> str:
    return re.sub(r"\s+\.$", "", pattern.strip()).replace("[X]", "{subject}").replace("[Y]", "{object}")


def _target(slotted: str) -> str | None:
    try:
        return templates.parse(slotted).target
    except ValueError:
        return None


def pararel(path: Place, gates: Gates) -> World:
    """ParaRel: patterns and tuples by relation; the first pattern that ends in [Y] states it.

    Reads ``patterns.jsonl`` + ``tuples.jsonl`` with a ``relation`` field, or the repository's
    ``pattern_data/graphs_json/P*.jsonl`` + ``trex_lms_vocab/P*.jsonl``.
    """
    patterns: dict[str, list[str]] = defaultdict(list)
    facts: list[Triplet] = []
    for file in _files(path, ("patterns.jsonl", "graphs_json/*.jsonl", "pattern_data/graphs_json/*.jsonl")):
        for where, row in rows(file):
            patterns[word(where, row, "relation") or file.stem].append(text(where, row, "pattern"))
    for file in _files(path, ("tuples.jsonl", "trex_lms_vocab/*.jsonl", "data/trex_lms_vocab/*.jsonl")):
        for where, row in rows(file):
            relation = word(where, row, "relation") or file.stem
            facts.append((text(where, row, "sub_label"), relation, text(where, row, "obj_label")))
    relations = {name: found for name, lines in patterns.items() if (found := _relation(name, lines, gates))}
    return _world("pararel", path, relations, facts, gates)


def lama(path: Place, gates: Gates) -> World:
    """LAMA: ``relations.jsonl`` with {relation, template, template_negated?} and one JSONL of facts a relation.

    Facts are {sub_label, obj_label} rows in ``TREx/P*.jsonl`` (or ``*.jsonl`` named by relation, or rows with
    ``predicate_id``); where a fact carries its own ``template`` (as on the hub), no ``relations.jsonl`` is needed.
    """
    stated: dict[str, list[str]] = defaultdict(list)
    denied: dict[str, list[str]] = defaultdict(list)
    facts: list[Triplet] = []
    sources: list[Place] = [path]
    if isinstance(path, Path) and path.is_dir():
        for where, row in rows(_files(path, ("relations.jsonl",))[0]):
            stated[text(where, row, "relation")].append(text(where, row, "template"))
            denied[row["relation"]] += texts(where, row, "template_negated")
        sources = [file for file in sorted(path.rglob("*.jsonl")) if file.name != "relations.jsonl"]
    for source in sources:
        for where, row in rows(source):
            stem = source.stem if isinstance(source, Path) else ""
            relation = word(where, row, "predicate_id", "relation", "pred") or stem
            if template := optional(where, row, "template"):
                stated[relation].append(template)
                denied[relation] += texts(where, row, "template_negated")
            facts.append((text(where, row, "sub_label"), relation, text(where, row, "obj_label")))
    relations = {
        name: found
        for name, lines in stated.items()
        if (found := _relation(name, dict.fromkeys(lines), gates, denied[name]))
    }
    return _world("lama", path, relations, facts, gates)


def lre(path: Place, gates: Gates) -> World:
    """LRE: JSON files of {name, prompt_templates, properties, samples: [{subject, object}]}; ``{}`` is the subject."""
    relations: dict[str, Relation] = {}
    facts: list[Triplet] = []
    for where, row in rows(path, "*.json"):
        name = text(where, row, "name")
        lines = [*texts(where, row, "prompt_templates"), *texts(where, row, "prompt_templates_zs")]
        prompts = [f"{line.replace('{}', '[X]').strip()} [Y]" for line in lines]
        domain = optional(where, mapping(where, row, "properties"), "domain_name")
        relation = _relation(domain or name or "relation", prompts, gates)
        if relation is not None:
            relations[name] = relation
        facts += [
            (text(where, pair, "subject"), name, text(where, pair, "object")) for pair in objects(where, row, "samples")
        ]
    return _world("lre", path, relations, facts, gates)


def triplets(path: Place, gates: Gates) -> World:
    """Rows of subject, relation, object, with domain and template ("{subject} lives in {object}") if given.

    Without a template, the relation's name in words stands between the two.
    """
    domains: dict[str, str] = {}
    patterns: dict[str, list[str]] = defaultdict(list)
    facts: list[Triplet] = []
    for where, row in rows(path):
        subject, relation, obj = (text(where, row, key) for key in ("subject", "relation", "object"))
        domains.setdefault(relation, word(where, row, "domain") or relation or "relation")
        if template := optional(where, row, "template"):
            try:
                templates.parse(template)
            except ValueError as error:
                raise InputError(f"{where} template", f"{template!r} ({error})", '"{subject} … {object}"') from error
            patterns[relation].append(template)
        facts.append((subject, relation, obj))
    for relation in domains:
        patterns[relation] = patterns[relation] or ["{subject} " + re.sub(r"[_\s]+", " ", relation) + " {object}"]
    relations = {name: found for name, lines in patterns.items() if (found := _relation(domains[name], lines, gates))}
    return _world("triplets", path, relations, facts, gates)


def country_json(path: Place, gates: Gates) -> World:
    """Files ``country-by-<attribute>.json`` of {country, <attribute>}; countries with none or several are counted."""
    relations: dict[str, Relation] = {}
    facts: list[Triplet] = []
    for file in _files(path, ("src/country-by-*.json", "country-by-*.json")):
        attribute = file.stem.removeprefix("country-by-").replace("-", " ")
        lines = [f"The {attribute} of [X] is [Y]", f"[X] has the {attribute} [Y]", f"[Y] is the {attribute} of [X]"]
        relation = _relation(attribute, lines, gates)
        if relation is not None:
            relations[attribute] = relation
        for where, row in rows(file):
            value = next((row[key] for key in row if key != "country"), None)
            if isinstance(value, str | int) and not isinstance(value, bool) and isinstance(row.get("country"), str):
                facts.append((row["country"], attribute, str(value)))
            else:
                gates.count(UNREADABLE, f"{where}: {row.get('country')!r:.40}: {value!r:.60}")
    return _world("country_json", path, relations, facts, gates)


def _files(path: Place, patterns: Iterable[str]) -> list[Path]:
    if not isinstance(path, Path):
        raise InputError("source.path", f"{path!r}", "a folder with the data set's files")
    found = [file for pattern in patterns for file in sorted(path.glob(pattern))]
    if not found:
        raise InputError(str(path), f"no {' or '.join(patterns)}", "the data set's folder")
    return found
