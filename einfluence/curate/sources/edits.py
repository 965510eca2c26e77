"""Knowledge edits: CounterFact, zsRE, RippleEdits, MQuAKE. The probe states the new fact."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, cast

from einfluence.curate.cases import NOT_AT_END, UNREADABLE, Case, Claim, Text, Trial, split_end
from einfluence.curate.draft import Gates
from einfluence.curate.sources.rows import Place, items, rows, text


def counterfact(path: Place, gates: Gates) -> Iterator[Case]:
    """CounterFact: ``target_new`` after the prompt is the probe.

    Its rephrasings are ``paraphrase``; the old object after the same prompt, the neighbourhood prompts (same relation
    and old object, other subjects) and the attribute prompts (same relation and new object, other subjects) are
    ``sibling``. Generation prompts have no target and are left out.
    """
    for where, row in rows(path):
        yield _easyedit(where, row) if "rephrase_prompt" in row or "target_new" in row else _rome(where, row)


def _easyedit(where: str, row: Mapping[str, Any]) -> Case:
    subject, new, old = (text(where, row, key) for key in ("subject", "target_new", "ground_truth"))
    prompt = text(where, row, "prompt")
    claims = [Claim(Text(other, new), "paraphrase") for other in items(row, "rephrase_prompt")]
    claims.append(Claim(Text(prompt, old), "sibling"))
    if row.get("locality_prompt"):
        claims.append(Claim(Text(row["locality_prompt"], str(row.get("locality_ground_truth", old))), "sibling"))
    template = prompt.replace(subject, "{}")
    return Case(
        key=str(row.get("case_id", where)),
        where=where,
        domain="edit",
        trials=(Trial((Text(prompt, new),), tuple(claims)),),
        cluster=subject,
        marks=(f"relation:{template}", f"object:{new}", f"object:{old}"),
        about=None,
    )


def _rome(where: str, row: Mapping[str, Any]) -> Case:
    edit = row.get("requested_rewrite")
    edit = cast("Mapping[str, Any]", edit) if isinstance(edit, Mapping) else {}
    new, old = text(where, edit, "target_new", "str"), text(where, edit, "target_true", "str")
    subject, relation = text(where, edit, "subject"), str(edit.get("relation_id", ""))
    prompt = text(where, edit, "prompt").replace("{}", subject)
    claims = [Claim(Text(other, new), "paraphrase") for other in items(row, "paraphrase_prompts")]
    claims.append(Claim(Text(prompt, old), "sibling"))
    claims += [Claim(Text(other, old), "sibling") for other in items(row, "neighborhood_prompts")]
    claims += [Claim(Text(other, new), "sibling") for other in items(row, "attribute_prompts")]
    return Case(
        key=str(row.get("case_id", where)),
        where=where,
        domain=relation or "edit",
        trials=(Trial((Text(prompt, new),), tuple(claims)),),
        cluster=subject,
        marks=(f"relation:{relation}", f"object:{new}", f"object:{old}"),
        about=None,
    )


def zsre(path: Place, gates: Gates) -> Iterator[Case]:
    """zsRE: the question with the new answer ``alt`` is the probe (the first right answer where ``alt`` is empty).

    ``rephrase`` is ``paraphrase``, the question with the right answer ``sibling``, the ``loc`` question ``unrelated``.
    """
    for where, row in rows(path):
        question = row.get("src") or row.get("prompt")
        answers = [str(answer) for answer in items(row, "answers") or items(row, "ground_truth")]
        new = row.get("alt") or row.get("target_new") or (answers[0] if answers else "")
        if not question or not new:
            gates.count(UNREADABLE, where)
            continue
        others = [*items(row, "rephrase"), *items(row, "rephrase_prompt")]
        claims = [Claim(Text(str(other), str(new)), "paraphrase") for other in others]
        claims += [Claim(Text(str(question), answer), "sibling") for answer in answers[:1] if answer != new]
        far, found = (
            row.get("loc") or row.get("locality_prompt"),
            row.get("loc_ans") or row.get("locality_ground_truth"),
        )
        if far and found:
            claims.append(Claim(Text(str(far).removeprefix("nq question: "), str(found)), "unrelated"))
        subject = str(row.get("subject", ""))
        template = str(question).replace(subject, "{}") if subject else str(question)
        yield Case(
            key=str(row.get("case_id", question)),
            where=where,
            domain="edit",
            trials=(Trial((Text(str(question), str(new)),), tuple(claims)),),
            cluster=subject,
            marks=(f"relation:{template}", f"object:{new}"),
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


def rippleedits(path: Place, gates: Gates) -> Iterator[Case]:
    """RippleEdits: the edit's sentence is the probe, its target what differs from the original fact's sentence.

    The original fact is ``sibling``; the criteria map as RIPPLES says. Without an original fact (the ``recent`` part)
    the target is what follows the last " is ".
    """
    for where, row in rows(path):
        edit = row.get("edit")
        edit = cast("Mapping[str, Any]", edit) if isinstance(edit, Mapping) else {}
        sentence, original = text(where, edit, "prompt"), edit.get("original_fact")
        old = text(where, cast("Mapping[str, Any]", original), "prompt") if isinstance(original, Mapping) else None
        own = _edited(sentence, old)
        if own is None:
            gates.count(NOT_AT_END, f"{where}: {sentence}")
            continue
        before = split_end(old, old.strip(" .")[len(own.prompt) :].strip()) if old else None
        claims = [Claim(before, "sibling")] if before and before != own else []
        for key, (kind, level) in RIPPLES.items():
            claims += [Claim(query, kind, level) for test in items(row, key) for query in _queries(test)]
        yield Case(
            key=f"{row.get('example_type', '')}:{sentence}",
            where=where,
            domain=str(edit.get("relation", "edit")),
            trials=(Trial((own,), tuple(dict.fromkeys(claims))),),
            cluster=str(edit.get("subject_id", "")),
            marks=(f"relation:{edit.get('relation')}", f"object:{own.target}"),
        )


def _edited(sentence: str, old: str | None) -> Text | None:
    if old is None:
        return split_end(sentence, sentence.strip(" .").rpartition(" is ")[2])
    shared = os.path.commonprefix([sentence, old])
    shared = shared[: shared.rfind(" ") + 1]
    return split_end(sentence, sentence[len(shared) :].strip(" .")) if shared else None


def _queries(test: Any) -> Iterator[Text]:
    for query in items(cast("dict[str, Any]", test), "test_queries"):
        prompt = query.get("prompt") or query.get("phrase")
        answers = items(query, "answers")
        if prompt and answers and answers[0].get("value"):
            yield Text(str(prompt), str(answers[0]["value"]))


def mquake(path: Place, gates: Gates) -> Iterator[Case]:
    """MQuAKE: each edited hop is a probe, all edits of an item together a bundle.

    For a hop: its question form is ``paraphrase``, the old object ``sibling``, the other hops of the chain
    ``premise``; where it is the only edit, the multi-hop questions are ``entailed``. For a bundle they are
    ``entailed`` (level = number of hops), the questions with the old answer ``sibling``.
    """
    for where, row in rows(path):
        edits = [cast("dict[str, Any]", edit) for edit in items(row, "requested_rewrite")]
        own = [_hop(where, edit) for edit in edits]
        if not own or not row.get("new_answer"):
            gates.count(UNREADABLE, where)
            continue
        hops = [Text(str(hop.get("cloze", "")), str(hop.get("answer", ""))) for hop in items(row, "new_single_hops")]
        hops = [hop for hop in hops if hop.prompt and hop.target]
        level = float(max(1, len(hops) - 1))
        asked = [str(question) for question in items(row, "questions")]
        ends = [Claim(Text(question, str(row["new_answer"])), "entailed", level) for question in asked]
        if row.get("answer") and row["answer"] != row["new_answer"]:
            ends += [Claim(Text(question, str(row["answer"])), "sibling") for question in asked]
        trials: list[Trial] = []
        if len(own) > 1:
            trials.append(Trial(tuple(own), tuple(ends)))
        for edit, statement in zip(edits, own, strict=True):
            claims = _hop_claims(where, edit, statement)
            claims += [
                Claim(hop, "premise") for hop in hops if hop.normal not in {text.normal for text in (statement,)}
            ]
            trials.append(Trial((statement,), (*claims, *(ends if len(own) == 1 else ()))))
        relations = tuple(f"relation:{edit.get('relation_id', edit.get('prompt'))}" for edit in edits)
        objects = tuple(f"object:{statement.target}" for statement in own)
        yield Case(
            key=str(row.get("case_id", where)),
            where=where,
            domain=f"{len(hops) or len(own)} hops",
            trials=tuple(trials),
            cluster=str(edits[0].get("subject", "")),
            marks=(*relations, *objects),
        )


def _hop(where: str, edit: Mapping[str, Any]) -> Text:
    prompt = text(where, edit, "prompt").replace("{}", text(where, edit, "subject"))
    return Text(prompt, text(where, edit, "target_new", "str"))


def _hop_claims(where: str, edit: Mapping[str, Any], statement: Text) -> list[Claim]:
    claims = [Claim(Text(statement.prompt, text(where, edit, "target_true", "str")), "sibling")]
    if edit.get("question"):
        claims.append(Claim(Text(str(edit["question"]), statement.target), "paraphrase"))
    return claims
