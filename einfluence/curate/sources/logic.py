"""Reasoning sets: Leap-of-Thought, ProntoQA, ProofWriter, EntailmentBank. Premises are trained, conclusions watched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from einfluence.curate.cases import NOT_AT_END, UNREADABLE, Case, Claim, Text, Trial, split_end
from einfluence.curate.draft import Gates
from einfluence.curate.sources.rows import Place, items, rows, text


def leap_of_thought(path: Place, gates: Gates) -> Iterator[Case]:
    """Leap-of-Thought: the implicit rule ("a wine is a alcohol") is the probe, the property its ``premise``.

    The conclusion is the property said of the rule's subject, ``entailed``; the same with the opposite truth is its
    ``sibling``. Bundle: rule and property; the property is a probe of its own, for synergy.
    """
    for where, row in rows(path):
        meta = row.get("metadata")
        meta = cast("dict[str, Any]", meta) if isinstance(meta, Mapping) else {}
        rule, about = meta.get("implicit_rule"), meta.get("property")
        said = [str(sentence) for sentence in items(meta, "rules")] or sentences(str(row.get("context", "")))
        if not isinstance(rule, Mapping) or not isinstance(about, Mapping):
            gates.count(UNREADABLE, where)
            continue
        first, second = (_of(said, part, where) for part in (rule, about))
        phrase = split_end(text(where, row, "phrase"), text(where, cast("Mapping[str, Any]", about), "object"))
        if first is None or second is None or phrase is None:
            gates.count(NOT_AT_END, f"{where}: {row.get('phrase')}")
            continue
        subject, kind = str(rule.get("subject")), str(rule.get("object"))
        follows = Text(re.sub(rf"\b{re.escape(kind)}\b", subject, second.prompt, count=1), second.target)
        wrong = phrase if phrase.normal != follows.normal else _denied(phrase)
        claims = (Claim(follows, "entailed", 1.0), *((Claim(wrong, "sibling"),) if wrong else ()))
        yield Case(
            key=str(row.get("id", where)),
            where=where,
            domain=str(about.get("predicate", "property")).removeprefix("/r/"),
            trials=(
                Trial((first,), (*claims, Claim(second, "premise"))),
                Trial((first, second), claims),
                Trial((second,)),
            ),
            cluster=subject,
            marks=(f"object:{about.get('object')}", f"object:{kind}"),
            joins=True,
        )


def _of(said: Sequence[str], part: Any, where: str) -> Text | None:
    """The sentence that states a (subject, object) part, split before its object."""
    fields = cast("Mapping[str, Any]", part)
    subject, obj = text(where, fields, "subject"), text(where, fields, "object")
    found = (split_end(line, obj) for line in said if re.search(rf"^\w+ {re.escape(subject)}\b", line, re.IGNORECASE))
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
    for where, row in rows(path):
        if "test_example" in row:
            row = cast("dict[str, Any]", row["test_example"])
        chain = [str(step) for step in items(row, "explanation") or items(row, "chain_of_thought")]
        steps = [found for line in chain if (found := split_end(line)) is not None]
        if len(steps) < 3:
            gates.count(UNREADABLE, where)
            continue
        fact, rules, conclusions = steps[0], steps[1::2], steps[2::2]
        name = fact.prompt.split()[0]
        claims = [Claim(found, "entailed", float(step)) for step, found in enumerate(conclusions, start=1)]
        claims += [Claim(rule, "premise") for rule in rules]
        claims.append(Claim(Text(re.sub(r"\bis\b", "is not", fact.prompt, count=1), fact.target), "negation"))
        true = {found.normal for found in (fact, *conclusions)}
        claims += [Claim(found, "sibling") for found in _false(row, name, fact, true)]
        last = conclusions[-1]
        yield Case(
            key=str(row.get("id", where)),
            where=where,
            domain=f"{len(conclusions)} hops",
            trials=(
                Trial((fact,), tuple(claims)),
                Trial((fact, rules[0]), (Claim(conclusions[0], "entailed", 1.0),)),
                Trial((rules[0],)),
                Trial((fact, *rules), (Claim(last, "entailed", float(len(conclusions))),)),
            ),
            cluster=str(row.get("id", where)),
        )


def _false(row: Mapping[str, Any], name: str, fact: Text, true: set[str]) -> Iterator[Text]:
    """What does not follow: the question if it is false, and membership in the first class that is not reached."""
    question = str(row.get("question", "")).rpartition("?")[2] or str(row.get("query", "")).rpartition(":")[2]
    asked = split_end(question)
    if asked is not None and asked.normal not in true and str(row.get("answer")) in ("B", "False"):
        yield asked
    reached = {line.split()[-1] for line in true}
    for sentence in sentences(str(row.get("context", "")) or text("", row, "question")):
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
    theories: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for where, row in rows(path):
        theory = str(row.get("context") or row.get("theory") or "")
        theories.setdefault(theory, []).append((where, row))
    for theory, asked in theories.items():
        where, first = asked[0]
        members = [found for line in sentences(theory) if (found := split_end(line)) is not None]
        if not members:
            gates.count(UNREADABLE, where)
            continue
        claims = [claim for place, row in asked for claim in _questions(place, row)]
        own = members[0]
        name = own.prompt.split()[0]
        alone = tuple(Claim(claim.text, None) for claim in claims if claim.text.prompt.startswith(name))
        yield Case(
            key=theory,
            where=where,
            domain=re.sub(r"^ProofWriter_", "", str(first.get("id", "theory"))).split("-")[0],
            trials=(Trial(tuple(dict.fromkeys(members)), tuple(claims)), Trial((own,), alone)),
            cluster=str(first.get("id", where)).partition("_Q")[0],
        )


def _questions(where: str, row: Mapping[str, Any]) -> Iterator[Claim]:
    questions: list[Mapping[str, Any]] = [row]
    nested = row.get("questions")
    if isinstance(nested, Mapping):
        questions = [cast("Mapping[str, Any]", item) for item in cast("Mapping[str, Any]", nested).values()]
    for question in questions:
        asked = split_end(str(question.get("question", "")).rpartition("?")[2])
        truth = str(question.get("answer", "")).lower()
        kind = {"a": "entailed", "true": "entailed", "b": "sibling", "false": "sibling"}.get(truth)
        depth = question.get("QDep")
        if asked is not None:
            yield Claim(asked, kind, float(depth) if kind == "entailed" and isinstance(depth, int) else None)


def entailmentbank(path: Place, gates: Gates) -> Iterator[Case]:
    """EntailmentBank: the leaves that a proof uses are one bundle; the hypothesis is ``entailed`` (level = depth).

    Intermediate conclusions are ``entailed`` at level 1. Each leaf is a probe of its own, with the other leaves as
    ``premise`` and the hypothesis ``entailed``, as the rest is general knowledge. The target is the last word.
    """
    for where, row in rows(path):
        meta = row.get("meta")
        meta = cast("dict[str, Any]", meta) if isinstance(meta, Mapping) else {}
        stated = cast("dict[str, str]", meta.get("triples") or {})
        proof, end = str(row.get("proof", "")), split_end(text(where, row, "hypothesis"))
        used = [stated[key] for key in dict.fromkeys(re.findall(r"\bsent\d+\b", proof)) if key in stated]
        leaves = [found for line in used if (found := split_end(line)) is not None]
        if end is None or len(leaves) < 2:
            gates.count(UNREADABLE, where)
            continue
        steps = [split_end(line) for line in re.findall(r"-> int\d+: ([^;]+)", proof)]
        claims = [Claim(end, "entailed", float(row.get("depth_of_proof") or 1))]
        between = [Claim(step, "entailed", 1.0) for step in steps if step is not None]
        bundle = Trial(tuple(dict.fromkeys(leaves)), (*claims, *between))
        alone = [
            Trial((leaf,), (*claims, *(Claim(other, "premise") for other in leaves if other != leaf)))
            for leaf in leaves
        ]
        yield Case(
            key=str(row.get("id", where)),
            where=where,
            domain=f"depth {row.get('depth_of_proof', '?')}",
            trials=(bundle, *alone),
            cluster=str(row.get("id", where)),
        )


def sentences(passage: str) -> list[str]:
    """Sentences of a passage of simple ones."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", passage) if part.strip()]
