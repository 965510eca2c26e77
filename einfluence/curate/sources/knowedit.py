"""KnowEdit: edits with what should follow from them and what should stay, in nested lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from einfluence.curate.builder import Gates
from einfluence.curate.sources.cases import UNANSWERED, UNREADABLE, Case, Claim, Text, Trial, normalise
from einfluence.curate.sources.rows import Place, answers, mapping, optional, rows, texts, word
from einfluence.errors import InputError

CRITERIA: Mapping[str, tuple[str | None, float | None]] = {
    "Reasoning": ("entailed", 2.0),
    "Logical_Generalization": ("entailed", 1.0),
    "Subject_Aliasing": ("paraphrase", None),
    "Forgetfulness": ("sibling", None),
    "neighborhood": ("sibling", None),
}
"""Kind and level by criterion; nothing is claimed about others, such as Relation_Specificity."""


def knowedit(place: Place, gates: Gates) -> Iterator[Case]:
    """KnowEdit as published: ``target_new`` after the prompt is the probe.

    Read are wiki_recent, wiki_counterfact, ZsRE and WikiBio (passage, sentence and concept). ``rephrase`` is
    ``paraphrase``, the old answer after the same prompt ``sibling``; the criteria of ``portability`` and ``locality``
    map as CRITERIA says. Of several answers the first is taken. Items without a prompt or a new answer, and queries
    without an answer, are counted.
    """
    gates.open(UNREADABLE)
    for where, row in rows(place):
        yield from knowedit_case(where, row, gates)


def is_knowedit(row: Mapping[str, Any]) -> bool:
    """Whether an item has the nested parts of KnowEdit."""
    return ("portability" in row and not _is_one_question(row)) or "locality" in row or "concept" in row


def what_follows(where: str, row: Mapping[str, Any], gates: Gates) -> list[Claim]:
    """The one question that CounterFact and zsRE have in ``portability`` where an item says what should follow."""
    if not _is_one_question(row):
        return []
    query = mapping(where, row, "portability")
    question, answer = (optional(f"{where} portability", query, key) for key in ("New Question", "New Answer"))
    gates.open(UNANSWERED)
    if question and answer:
        return [Claim(Text(question, answer), *CRITERIA["Reasoning"])]
    gates.count(UNANSWERED, f"{where} portability: {question}")
    return []


def _is_one_question(row: Mapping[str, Any]) -> bool:
    value = row.get("portability")
    return isinstance(value, Mapping) and "New Question" in value


def knowedit_case(where: str, row: Mapping[str, Any], gates: Gates) -> Iterator[Case]:
    """The case of one item, if it has what a probe needs."""
    prompt = optional(where, row, "prompt", "text", "src")
    new = next(iter(answers(f"{where} target_new", row.get("target_new", row.get("labels", row.get("alt"))))), "")
    if not prompt or not new:
        gates.count(UNREADABLE, f"{where}: no {'new answer' if prompt else 'prompt'}")
        return
    subject = optional(where, row, "subject", "concept")
    old = next(iter(answers(f"{where} ground_truth", row.get("ground_truth", row.get("target_old")))), "")
    others = [*texts(where, row, "rephrase"), *texts(where, row, "rephrase_prompt")]
    claims = [Claim(Text(other, new), "paraphrase") for other in others]
    if old and normalise(old) != normalise(new):
        claims.append(Claim(Text(prompt, old), "sibling"))
    gates.open(UNANSWERED)
    for part in ("portability", "locality"):
        for name, query in _parts(where, row, part, gates):
            kind, level = CRITERIA.get(name, (None, None))
            claims.append(Claim(query, kind, level, alias=name == "Subject_Aliasing"))
    template = prompt.replace(subject, "{}") if subject else prompt
    yield Case(
        key=word(where, row, "case_id") or prompt,
        where=where,
        domain="edit",
        trials=(Trial((Text(prompt, new, (subject, "", new) if subject else None),), tuple(dict.fromkeys(claims))),),
        cluster=subject,
        marks=(f"relation:{template}", f"object:{new}", *([f"object:{old}"] if old else [])),
    )


def _parts(where: str, row: Mapping[str, Any], part: str, gates: Gates) -> Iterator[tuple[str, Text]]:
    """Name of the criterion and query, for all of ``portability`` or ``locality``."""
    value = row.get(part)
    named = cast("Mapping[str, Any]", {"": value} if isinstance(value, list) else mapping(where, row, part))
    for name, listed in named.items():
        place = f"{where} {part}.{name}".rstrip(".")
        for query in cast("list[Any]", listed if isinstance(listed, list) else [] if listed is None else [listed]):
            if not isinstance(query, Mapping):
                raise InputError(place, f"{query!r:.60}", "objects of prompt and ground_truth")
            yield from ((name, found) for found in _queries(place, cast("Mapping[str, Any]", query), gates))


def _queries(where: str, query: Mapping[str, Any], gates: Gates) -> Iterator[Text]:
    """One prompt with its answers, or lists of prompts and of as many answers."""
    prompts = texts(where, query, "prompt")
    truth = query.get("ground_truth", query.get("answer"))
    listed = cast("list[Any]", truth) if isinstance(truth, list) else [truth]
    each = listed if len(prompts) == len(listed) and len(prompts) > 1 else [truth] * len(prompts)
    for prompt, value in zip(prompts, each, strict=True):
        found = answers(f"{where} ground_truth", value)
        if prompt.strip() and found:
            yield Text(prompt, found[0])
        else:
            gates.count(UNANSWERED, f"{where}: {prompt}")
    gates.count(UNANSWERED, f"{where}: no prompt", int(not prompts))
