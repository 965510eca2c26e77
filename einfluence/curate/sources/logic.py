"""Reasoning sets: Leap-of-Thought, ProntoQA, ProofWriter, EntailmentBank. Premises are trained, conclusions watched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from einfluence.curate.builder import Gates
from einfluence.curate.records import number_field
from einfluence.curate.sources.cases import NOT_AT_END, UNREADABLE, Case, Claim, Text, Trial, split_end
from einfluence.curate.sources.rows import Place, mapping, objects, optional, rows, text, texts, word


def leap_of_thought(path: Place, gates: Gates) -> Iterator[Case]:
    """Leap-of-Thought: the implicit rule ("a wine is a alcohol") is the probe, the property its ``premise``.

    The conclusion is the property stated of the rule's subject, ``entailed``; the same with the opposite truth is its
    ``sibling``. Bundle: rule and property; the property is a probe of its own, for synergy.
    """
    gates.open(UNREADABLE, NOT_AT_END)
    for where, row in rows(path):
        meta = mapping(where, row, "metadata")
        rule, about = mapping(where, meta, "implicit_rule"), mapping(where, meta, "property")
        given = texts(where, meta, "rules") or sentences(optional(where, row, "context"))
        if not rule or not about:
            gates.count(UNREADABLE, f"{where}: no {'property' if rule else 'implicit_rule'}")
            continue
        first, second = (_of(given, part, where) for part in (rule, about))
        phrase = split_end(text(where, row, "phrase"), text(where, about, "object"))
        if first is None or second is None or phrase is None:
            gates.count(NOT_AT_END, f"{where}: {row.get('phrase')}")
            continue
        subject, kind = text(where, rule, "subject"), text(where, rule, "object")
        follows = Text(
            re.sub(rf"\b{re.escape(kind)}\b", subject.replace("\\", r"\\"), second.prompt, count=1), second.target
        )
        if follows.normal == second.normal:
            gates.count(UNREADABLE, f"{where}: {kind!r} does not stand in {second.prompt!r}")
            continue
        wrong = phrase if phrase.normal != follows.normal else _denied(phrase)
        claims = (Claim(follows, "entailed", 1.0), *((Claim(wrong, "sibling"),) if wrong else ()))
        yield Case(
            key=word(where, row, "id") or where,
            where=where,
            domain=(optional(where, about, "predicate") or "property").removeprefix("/r/"),
            trials=(
                Trial((first,), (*claims, Claim(second, "premise"))),
                Trial((first, second), claims),
                Trial((second,)),
            ),
            cluster=subject,
            marks=(f"object:{about.get('object')}", f"object:{kind}"),
            joins=True,
        )


def _of(given: Sequence[str], fields: Mapping[str, Any], where: str) -> Text | None:
    """The sentence that states a (subject, object) part, split before its object."""
    subject, obj = text(where, fields, "subject"), text(where, fields, "object")
    found = (split_end(line, obj) for line in given if re.search(rf"^\w+ {re.escape(subject)}\b", line, re.IGNORECASE))
    return next((found for found in found if found is not None), None)


def _denied(statement: Text) -> Text | None:
    """``A bird has a`` → ``A bird does not have a``; None for verbs that are not known."""
    for verb, denial in ((" is ", " is not "), (" has ", " does not have "), (" desires ", " does not desire ")):
        padded = f"{statement.prompt} "
        if verb in padded and denial not in padded:
            return Text(padded.replace(verb, denial, 1).rstrip(), statement.target)
    return None


def prontoqa(path: Place, gates: Gates) -> Iterator[Case]:
    """ProntoQA: the fact about the individual ("Max is a yumpus") is the probe.

    Every conclusion of the given chain is ``entailed`` (level = its step), the rules used are ``premise``, the fact's
    denial is ``negation``, a false question is ``sibling``, and so is membership in a class that does not follow.
    Bundles: the fact with the first rule (which is a probe of its own, for synergy), and with all rules of the chain.
    """
    gates.open(UNREADABLE)
    for where, item in rows(path):
        row = mapping(where, item, "test_example") or item
        chain = texts(where, row, "explanation") or texts(where, row, "chain_of_thought")
        steps = [found for line in chain if (found := split_end(line)) is not None]
        if len(steps) < 3 or len(steps) < len(chain):  # fact, then rule and conclusion by turns: none may be missing
            gates.count(UNREADABLE, f"{where}: a chain of {len(steps)} sentences ({len(chain)} lines)")
            continue
        fact, rules, conclusions = steps[0], steps[1::2], steps[2::2]
        name = fact.prompt.split()[0]
        claims = [Claim(found, "entailed", float(step)) for step, found in enumerate(conclusions, start=1)]
        claims += [Claim(rule, "premise") for rule in rules]
        claims.append(Claim(Text(re.sub(r"\bis\b", "is not", fact.prompt, count=1), fact.target), "negation"))
        true = {found.normal for found in (fact, *conclusions)}
        claims += [Claim(found, "sibling") for found in _false(where, row, name, fact, true)]
        last = conclusions[-1]
        yield Case(
            key=word(where, row, "id") or where,
            where=where,
            domain=f"{len(conclusions)} hops",
            trials=(
                Trial((fact,), tuple(claims)),
                Trial((fact, rules[0]), (Claim(conclusions[0], "entailed", 1.0),)),
                Trial((rules[0],)),
                Trial((fact, *rules), (Claim(last, "entailed", float(len(conclusions))),)),
            ),
            cluster=word(where, row, "id") or where,
        )


def _false(where: str, row: Mapping[str, Any], name: str, fact: Text, true: set[str]) -> Iterator[Text]:
    """What does not follow: the question if it is false, and membership in the first class that is not reached."""
    question = optional(where, row, "question").rpartition("?")[2] or optional(where, row, "query").rpartition(":")[2]
    query = split_end(question)
    if query is not None and query.normal not in true and str(row.get("answer")) in ("B", "False"):
        yield query
    reached = {line.split()[-1] for line in true}
    for sentence in sentences(optional(where, row, "context") or optional(where, row, "question")):
        found = re.match(r"(?:Each|Every) (\w+) is |(\w+uses) are ", sentence)
        word = (found[1] or found[2]).lower().removesuffix("es") if found else ""
        if word and word not in reached and word != fact.target:
            article = "an" if word[0] in "aeiou" else "a"
            yield Text(f"{name} is {article}", word)
            return


def proofwriter(path: Place, gates: Gates) -> Iterator[Case]:
    """ProofWriter: the sentences of a theory are one bundle; true questions are ``entailed``, false ones ``sibling``.

    Level is the question's depth where the file has it. A true question that the theory states itself is counted as
    already stated. Each theory is also probed by its first fact alone, for which true questions about the same
    subject are wanted, but nothing is claimed.
    """
    gates.open(UNREADABLE, NOT_AT_END)
    theories: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for where, row in rows(path):
        theories.setdefault(optional(where, row, "context", "theory"), []).append((where, row))
    for theory, query in theories.items():
        where, first = query[0]
        members = _split(where, sentences(theory), gates)
        if not members:
            gates.count(UNREADABLE, f"{where}: no theory", len(query) if not theory else 1)
            continue
        claims = [claim for place, row in query for claim in _questions(place, row, gates)]
        own = members[0]
        name = own.prompt.split()[0]
        alone = tuple(Claim(claim.text, None) for claim in claims if claim.text.prompt.split()[0] == name)
        yield Case(
            key=theory,
            where=where,
            domain=(word(where, first, "id") or "theory").removeprefix("ProofWriter_").split("-")[0],
            trials=(Trial(tuple(dict.fromkeys(members)), tuple(claims)), Trial((own,), alone)),
            cluster=(word(where, first, "id") or where).partition("_Q")[0],
        )


def _split(where: str, lines: Iterable[str], gates: Gates) -> list[Text]:
    """Sentences before their last word; those of one word are counted."""
    found: list[Text] = []
    for line in lines:
        sentence = split_end(line)
        if sentence is None:
            gates.count(NOT_AT_END, f"{where}: {line}")
        else:
            found.append(sentence)
    return found


def _questions(where: str, row: Mapping[str, Any], gates: Gates) -> Iterator[Claim]:
    nested = row.get("questions")
    questions: list[Mapping[str, Any]] = [row]
    if nested is not None:
        named = cast("Mapping[str, Any]", nested) if isinstance(nested, Mapping) else {}
        questions = objects(where, {"questions": [*named.values()] if named else nested}, "questions")
    for question in questions:
        answer = question.get("answer")
        truth = str(answer).lower() if isinstance(answer, bool) else optional(where, question, "answer").lower()
        kind = {"a": "entailed", "true": "entailed", "b": "sibling", "false": "sibling"}.get(truth)
        depth = number_field(where, question, "QDep") if kind == "entailed" else None
        for query in _split(where, [optional(where, question, "question").rpartition("?")[2]], gates):
            yield Claim(query, kind, depth)


def entailmentbank(path: Place, gates: Gates) -> Iterator[Case]:
    """EntailmentBank: the leaves that a proof uses are one bundle; the hypothesis is ``entailed`` (level = depth).

    Intermediate conclusions are ``entailed`` at level 1. Each leaf is a probe of its own, with the other leaves as
    ``premise`` and the hypothesis ``entailed``, as the rest is general knowledge. The target is the last word.
    """
    gates.open(UNREADABLE, NOT_AT_END)
    for where, row in rows(path):
        stated = mapping(where, mapping(where, row, "meta"), "triples")
        proof, end = optional(where, row, "proof"), split_end(text(where, row, "hypothesis"))
        used = [text(where, stated, key) for key in dict.fromkeys(re.findall(r"\bsent\d+\b", proof)) if key in stated]
        leaves = _split(where, used, gates)
        if end is None or len(leaves) < 2:
            gates.count(UNREADABLE, f"{where}: {len(leaves)} leaves" if end else f"{where}: a hypothesis of one word")
            continue
        depth = number_field(where, row, "depth_of_proof")
        claims = [Claim(end, "entailed", depth or 1.0)]
        steps = _split(where, re.findall(r"-> int\d+: ([^;]+)", proof), gates)
        between = [Claim(step, "entailed", 1.0) for step in steps]
        bundle = Trial(tuple(dict.fromkeys(leaves)), (*claims, *between))
        alone = [
            Trial((leaf,), (*claims, *(Claim(other, "premise") for other in leaves if other != leaf)))
            for leaf in leaves
        ]
        yield Case(
            key=word(where, row, "id") or where,
            where=where,
            domain=f"depth {'?' if depth is None else f'{depth:g}'}",
            trials=(bundle, *alone),
            cluster=word(where, row, "id") or where,
        )


def sentences(passage: str) -> list[str]:
    """Sentences of a passage of simple ones."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", passage) if part.strip()]
