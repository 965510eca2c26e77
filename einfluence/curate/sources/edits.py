"""Knowledge edits: CounterFact, zsRE, RippleEdits, MQuAKE. The probe states the new fact."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from einfluence.curate.builder import Gates
from einfluence.curate.sources.cases import NOT_AT_END, UNANSWERED, UNREADABLE, Case, Claim, Text, Trial, split_end
from einfluence.curate.sources.knowedit import is_knowedit, knowedit_case, what_follows
from einfluence.curate.sources.rows import Place, answers, items, mapping, objects, optional, rows, text, texts, word
from einfluence.errors import InputError


def counterfact(place: Place, gates: Gates) -> Iterator[Case]:
    """CounterFact: ``target_new`` after the prompt is the probe.

    Its rephrasings are ``paraphrase``; the old object after the same prompt, the neighbourhood prompts (same relation
    and old object, other subjects) and the attribute prompts (same relation and new object, other subjects) are
    ``sibling``; a question in ``portability`` is ``entailed``. Generation prompts have no target and are left out.
    """
    for where, row in rows(place):
        if is_knowedit(row):
            yield from knowedit_case(where, row, gates)
        elif "rephrase_prompt" in row or "target_new" in row:
            yield _easyedit(where, row, gates)
        else:
            yield _rome(where, row, gates)


def _easyedit(where: str, row: Mapping[str, Any], gates: Gates) -> Case:
    subject, new, prompt = (text(where, row, key) for key in ("subject", "target_new", "prompt"))
    old = next(iter(answers(f"{where} ground_truth", row.get("ground_truth"))), "")
    claims = [Claim(Text(other, new), "paraphrase") for other in texts(where, row, "rephrase_prompt")]
    if old:
        claims.append(Claim(Text(prompt, old), "sibling"))
    far = optional(where, row, "locality_prompt")
    found = next(iter(answers(f"{where} locality_ground_truth", row.get("locality_ground_truth"))), old)
    if far:
        claims.append(Claim(Text(far, found), "sibling"))
    claims += what_follows(where, row, gates)
    return Case(
        key=word(where, row, "case_id") or where,
        where=where,
        domain="edit",
        trials=(Trial((Text(prompt, new, _about(subject, "", new)),), tuple(claims)),),
        cluster=subject,
        marks=(f"relation:{template_of(prompt, subject)}", *_objects(new, old)),
    )


def _about(subject: str, relation: str, obj: str) -> tuple[str, str, str] | None:
    return (subject, relation, obj) if subject.strip() and obj.strip() else None


def template_of(prompt: str, subject: str) -> str:
    """The prompt with a blank for the subject: what two edits of the same wording share."""
    return prompt.replace(subject, "{}") if subject.strip() else prompt


def _objects(*names: str) -> tuple[str, ...]:
    return tuple(f"object:{name}" for name in names if name)


def _rome(where: str, row: Mapping[str, Any], gates: Gates) -> Case:
    edit = mapping(where, row, "requested_rewrite")
    new, old = text(where, edit, "target_new", "str"), text(where, edit, "target_true", "str")
    subject, relation = text(where, edit, "subject"), word(where, edit, "relation_id")
    prompt = _filled(where, edit, subject)
    claims = [Claim(Text(other, new), "paraphrase") for other in texts(where, row, "paraphrase_prompts")]
    claims.append(Claim(Text(prompt, old), "sibling"))
    claims += [Claim(Text(other, old), "sibling") for other in texts(where, row, "neighborhood_prompts")]
    claims += [Claim(Text(other, new), "sibling") for other in texts(where, row, "attribute_prompts")]
    claims += what_follows(where, row, gates)
    return Case(
        key=word(where, row, "case_id") or where,
        where=where,
        domain=relation or "edit",
        trials=(Trial((Text(prompt, new, _about(subject, relation, new)),), tuple(claims)),),
        cluster=subject,
        marks=(f"relation:{relation or template_of(prompt, subject)}", *_objects(new, old)),
    )


def _filled(where: str, edit: Mapping[str, Any], subject: str) -> str:
    """The prompt of an edit with its subject in it; without one it would be about nothing."""
    prompt = text(where, edit, "prompt")
    if "{}" not in prompt and subject.casefold() not in prompt.casefold():
        found = f"{prompt!r:.80} without the subject {subject!r:.40}"
        raise InputError(f"{where} requested_rewrite.prompt", found, "a prompt with {} where the subject stands")
    return prompt.replace("{}", subject)


def zsre(place: Place, gates: Gates) -> Iterator[Case]:
    """zsRE: the question with the new answer ``alt`` is the probe (the first right answer where ``alt`` is empty).

    ``rephrase`` is ``paraphrase``, the question with the right answer ``sibling``, the ``loc`` question ``unrelated``,
    the question in ``portability`` ``entailed``.
    """
    gates.open(UNREADABLE)
    for where, row in rows(place):
        if is_knowedit(row):
            yield from knowedit_case(where, row, gates)
            continue
        question = optional(where, row, "src", "prompt")
        right = answers(f"{where} answers", row.get("answers") or row.get("ground_truth"))
        new = optional(where, row, "alt", "target_new") or (right[0] if right else "")
        if not question or not new:
            gates.count(UNREADABLE, f"{where}: no {'answer' if question else 'question'}")
            continue
        subject = optional(where, row, "subject")
        others = [*texts(where, row, "rephrase"), *texts(where, row, "rephrase_prompt")]
        claims = [Claim(Text(other, new), "paraphrase") for other in others]
        claims += [Claim(Text(question, answer), "sibling") for answer in right[:1] if answer != new]
        far = optional(where, row, "loc", "locality_prompt")
        found = answers(f"{where} loc_ans", row.get("loc_ans") or row.get("locality_ground_truth"))
        if far:
            claims.append(Claim(Text(far.removeprefix("nq question: "), (*found, "")[0]), "unrelated"))
        claims += what_follows(where, row, gates)
        yield Case(
            key=word(where, row, "case_id") or question,
            where=where,
            domain="edit",
            trials=(Trial((Text(question, new, _about(subject, "", new)),), tuple(claims)),),
            cluster=subject,
            marks=(f"relation:{template_of(question, subject)}", *_objects(new)),
        )


RIPPLES = {
    "Logical_Generalization": ("entailed", 1.0),
    "Compositionality_I": ("entailed", 2.0),
    "Compositionality_II": ("entailed", 2.0),
    "Subject_Aliasing": ("paraphrase", None),
    "Forgetfulness": ("sibling", None),
    "Relation_Specificity": (None, None),
    "Relation_Specifity": (None, None),
}
"""Kind and level by criterion; Relation_Specificity holds other facts of the subject: nothing is claimed there."""


def rippleedits(place: Place, gates: Gates) -> Iterator[Case]:
    """RippleEdits: the edit's sentence is the probe, its target what differs from the original fact's sentence.

    The original fact is ``sibling``; the criteria map as RIPPLES says. Without an original fact (the ``recent`` part)
    the target is what follows the last " is ".
    """
    gates.open(NOT_AT_END, UNANSWERED)
    for where, row in rows(place):
        edit = mapping(where, row, "edit")
        sentence, original = text(where, edit, "prompt"), mapping(where, edit, "original_fact")
        old = text(where, original, "prompt") if original else None
        own = _edited(sentence, old)
        if own is None:
            gates.count(NOT_AT_END, f"{where}: {sentence}")
            continue
        before = split_end(old, old.strip(" .")[len(own.prompt) :].strip()) if old else None
        claims = [Claim(before, "sibling")] if before and before != own else []
        for key, (kind, level) in RIPPLES.items():
            found = [query for test in objects(where, row, key) for query in _queries(f"{where} {key}", test, gates)]
            claims += [Claim(query, kind, level, alias=kind == "paraphrase") for query in found]
        relation = word(where, edit, "relation")
        yield Case(
            key=f"{optional(where, row, 'example_type')}:{sentence}",
            where=where,
            domain=relation or "edit",
            trials=(Trial((own,), tuple(dict.fromkeys(claims))),),
            cluster=word(where, edit, "subject_id"),
            marks=(f"relation:{relation or own.prompt}", f"object:{own.target}"),
        )


def _edited(sentence: str, old: str | None) -> Text | None:
    if old is None:
        return split_end(sentence, sentence.strip(" .").rpartition(" is ")[2])
    shared = os.path.commonprefix([sentence, old])
    shared = shared[: shared.rfind(" ") + 1]
    return split_end(sentence, sentence[len(shared) :].strip(" .")) if shared else None


def _queries(where: str, test: Mapping[str, Any], gates: Gates) -> Iterator[Text]:
    for query in objects(where, test, "test_queries"):
        prompt = optional(where, query, "prompt", "phrase")
        found = answers(f"{where} answers", query.get("answers"))
        if prompt and found:
            yield Text(prompt, found[0])
        else:
            gates.count(UNANSWERED, f"{where}: {prompt}")


def mquake(place: Place, gates: Gates) -> Iterator[Case]:
    """MQuAKE: each edited hop is a probe, all edits of an item together a bundle.

    For a hop: its question form is ``paraphrase``, the old object ``sibling``, the other hops of the chain
    ``premise``; where it is the only edit, the multi-hop questions are ``entailed``. For a bundle they are
    ``entailed`` (level = number of hops), the questions with the old answer ``sibling``.
    """
    gates.open(UNREADABLE)
    for where, row in rows(place):
        edits = objects(where, row, "requested_rewrite")
        new, old = optional(where, row, "new_answer"), optional(where, row, "answer")
        own = [_hop(where, edit) for edit in edits]
        if not own or not new:
            gates.count(UNREADABLE, f"{where}: no {'new_answer' if own else 'requested_rewrite'}")
            continue
        stated = objects(where, row, "new_single_hops")
        hops = [Text(optional(where, hop, "cloze"), optional(where, hop, "answer")) for hop in stated]
        hops = [hop for hop in hops if hop.prompt and hop.target]
        ends = _ends(texts(where, row, "questions"), new, old, float(max(1, len(hops) - 1)))
        trials: list[Trial] = []
        if len(own) > 1:
            trials.append(Trial(tuple(own), tuple(ends)))
        for edit, statement in zip(edits, own, strict=True):
            claims = _hop_claims(where, edit, statement)
            claims += [Claim(hop, "premise") for hop in hops if hop.normal != statement.normal]
            trials.append(Trial((statement,), (*claims, *(ends if len(own) == 1 else ()))))
        relations = tuple(f"relation:{word(where, edit, 'relation_id', 'prompt')}" for edit in edits)
        yield Case(
            key=word(where, row, "case_id") or where,
            where=where,
            domain=f"{len(hops) or len(own)} hops",
            trials=tuple(trials),
            cluster=optional(where, edits[0], "subject"),
            marks=(*relations, *_objects(*(statement.target for statement in own))),
        )


def _ends(queries: Sequence[str], new: str, old: str, level: float) -> list[Claim]:
    claims = [Claim(Text(question, new), "entailed", level) for question in queries]
    return claims + [Claim(Text(question, old), "sibling") for question in queries if old and old != new]


def _hop(where: str, edit: Mapping[str, Any]) -> Text:
    subject, new = text(where, edit, "subject"), text(where, edit, "target_new", "str")
    prompt = _filled(where, edit, subject)
    return Text(prompt, new, _about(subject, word(where, edit, "relation_id"), new))


def _hop_claims(where: str, edit: Mapping[str, Any], statement: Text) -> list[Claim]:
    old = next(iter(answers(f"{where} target_true", items(edit, "target_true"))), "")
    claims = [Claim(Text(statement.prompt, old), "sibling")] if old else []
    question = optional(where, edit, "question")
    return [*claims, Claim(Text(question, statement.target), "paraphrase")] if question else claims
