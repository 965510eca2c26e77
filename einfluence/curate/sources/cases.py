"""Published items as cases: what each is trained on and what it claims, in the same form for every data set."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from einfluence.curate.builder import KINDS, Codes, CurationBuilder, Gates, Ints
from einfluence.curate.wording import contains, mentions, normalise, words
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Sample

DUPLICATE = "duplicate after normalisation"
MERGED = "items with the same probe (claims joined)"
SUBJECT = "paraphrase without subject or object"
NOT_AT_END = "target not at the end"
NEGATION = "negation equal to its statement"
STATED = "conclusion already stated"
LEAK = "answer stands in the query's prompt"
UNANSWERED = "query without an answer"
UNREADABLE = "item without what a probe needs"


@dataclass(frozen=True)
class Text:
    """A prompt and its target.

    Args:
        prompt: Text before the target.
        target: What is trained or watched.
        about: (subject, relation, object) where the item says so; an empty relation is not known.
    """

    prompt: str
    target: str
    about: tuple[str, str, str] | None = field(default=None, compare=False)

    @property
    def normal(self) -> str:
        """The whole text, without what does not count when texts are compared."""
        return normalise(f"{self.prompt} {self.target}")


@dataclass(frozen=True)
class Claim:
    """What a trial should do to a query, with the level that ``relations`` documents.

    ``alias`` says that the text means the subject by another name, so that the name need not stand in it.
    """

    text: Text
    kind: str | None
    level: float | None = None
    alias: bool = False


@dataclass(frozen=True)
class Trial:
    """One probe of a case: the texts trained together, and the claims about its queries."""

    members: tuple[Text, ...]
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True)
class Case:
    """One item of a data set.

    Args:
        key: Its native id; draws go by it.
        where: File and line.
        domain: What results are grouped by.
        trials: Its probes, the main one first.
        cluster: What is resampled together; the subject where there is one.
        marks: What it is about beside its words, e.g. ``relation:P103``: two cases that share one are not unrelated.
        ignore: Words of the frame that all items share, which make nothing related.
        joins: Items of this set speak of one world, so that those with the same probe are joined; else only the
            first is kept, as the others may contradict it.
    """

    key: str
    where: str
    domain: str
    trials: tuple[Trial, ...]
    cluster: str = ""
    marks: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    joins: bool = False


def split_end(sentence: str, target: str | None = None) -> Text | None:
    """A sentence as prompt and target: the given target, else the last word; None where it does not end so."""
    bare = re.sub(r"[\s.!?]+$", "", sentence.strip())
    if target is None:
        prompt, _, target = bare.rpartition(" ")
    elif bare.lower().endswith(target.lower().rstrip(" .")) and target.strip(" ."):
        cut = len(bare) - len(target.rstrip(" ."))
        prompt, target = bare[:cut], bare[cut:]
    else:
        return None
    return Text(prompt.rstrip(), target.strip()) if prompt.strip() and target.strip() else None


@dataclass
class CasesBuilder:
    """The curation and, for its samples, the cases and marks behind them."""

    builder: CurationBuilder = field(default_factory=CurationBuilder)
    case_of: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    marks: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    probe_marks: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    about: dict[str, tuple[str, str, str]] = field(default_factory=dict[str, tuple[str, str, str]])

    def default_kind(self, probes: Ints, queries: Ints) -> Codes:
        """``unrelated`` where a probe (with what it claims) and a query share no content word and no mark.

        ``neighbour`` where both state the same object of different subjects in different relations.
        """
        from scipy.sparse import csr_matrix

        number: dict[str, int] = {}

        def rows(found: Iterable[set[str]]) -> csr_matrix:
            listed = [[number.setdefault(mark, len(number)) for mark in sorted(marks)] for marks in found]
            ends = np.concatenate([[0], np.cumsum([len(row) for row in listed])])
            flat = np.array([mark for row in listed for mark in row], np.int64)
            return csr_matrix((np.ones(len(flat), np.float32), flat, ends), shape=(len(listed), 1 << 26))

        left = rows(self.probe_marks.get(key, set()) for key in self.builder.probes)
        right = rows(self.marks[key] for key in self.builder.queries)
        left, right = left[:, : len(number)], right[:, : len(number)]
        single = [probe.members[0] if len(probe.members) == 1 else "" for probe in self.builder.probes.values()]
        own = _about_codes([self.about.get(key) for key in single], number)
        seen = _about_codes([self.about.get(key) for key in self.builder.queries], number)
        code = np.empty(len(probes), np.int8)
        for start in range(0, len(probes), 500_000):
            at = slice(start, start + 500_000)
            rows_here, columns = probes[at], queries[at]
            shared = np.asarray(left[rows_here].multiply(right[columns]).sum(1)).ravel()
            part = np.where(shared == 0, KINDS.index("unrelated"), -1)
            one, other = own[rows_here], seen[columns]
            near = (one[:, 2] == other[:, 2]) & (one[:, 1] != other[:, 1]) & (one[:, 0] != other[:, 0])
            known = (one[:, 1] >= 0) & (other[:, 1] >= 0)
            code[at] = np.where(near & known, KINDS.index("neighbour"), part)
        return code


def _about_codes(found: Sequence[tuple[str, str, str] | None], number: dict[str, int]) -> np.ndarray:
    """Numbers of (subject, relation, object); -1 for what is not known."""
    rows = [
        [number.setdefault(f"={normalise(part)}", len(number)) if part else -1 for part in about or ("", "", "")]
        for about in found
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def build_cases(
    name: str, cases: Iterable[Case], gates: Gates, *, limit: int | None, seed: int, join: str | None = None
) -> CasesBuilder:
    """Turns cases into probes, queries and claims, and passes them through the quality gates.

    Args:
        name: Of the data set, for messages.
        cases: In any order; a draw of ``limit`` goes by a hash of seed and key.
        gates: Counts what the reader found already.
        limit: How many cases; None takes all.
        seed: Of the draw.
        join: What stands between prompt and target; None takes the rule.

    Raises:
        InputError: If no case is left.
    """
    out = CasesBuilder(CurationBuilder(gates=gates, join=join))
    gates.open(DUPLICATE)
    listed = [case for case in cases if _is_whole(gates, case)]
    if limit is not None:
        ranked = sorted(listed, key=lambda case: content_hash((seed, case.key)))[:limit]
        kept = {id(case) for case in ranked}
        listed = [case for case in listed if id(case) in kept]
    seen: dict[str, str] = {}
    for case in listed:
        normal = " + ".join(text.normal for text in case.trials[0].members)
        if case.joins:
            gates.count(MERGED, f"{case.where} = {seen.get(normal)}: {normal}", int(normal in seen))
            claims = (claim.text.normal for trial in case.trials for claim in trial.claims)
            seen.setdefault(normal, case.where)
            normal = " + ".join([normal, *claims])
        if normal in seen:
            gates.count(DUPLICATE, f"{case.where} = {seen[normal]}: {normal}")
            continue
        seen[normal] = case.where
        for number, trial in enumerate(case.trials):
            _try(out, name, case, trial, number)
    if not out.builder.probes:
        passed = [f"{gate}: {example}" for gate, (count, example) in gates.rows.items() if count and example]
        found = "no usable item" + (f" ({passed[0]})" if passed else "")
        raise InputError(f"source.path ({name})", found, f"items of {name}; see docs/curation.md for its form")
    return out


def _is_whole(gates: Gates, case: Case) -> bool:
    """Whether every probe of a case has a target; else the case is counted."""
    whole = all(text.target.strip() for trial in case.trials for text in trial.members)
    gates.count(UNREADABLE, f"{case.where}: no target", int(not whole))
    return whole


def _try(out: CasesBuilder, name: str, case: Case, trial: Trial, number: int) -> None:
    builder = out.builder
    members = [_keep(out, name, case, text, f"{number}.{place}") for place, text in enumerate(trial.members)]
    kind = "sample" if len(members) == 1 else "bundle"
    probe_id = builder.probe(f"{case.key}:{number}", members, kind)
    about = set(case.marks).union(*(out.marks[key] for key in members))
    for key in members:
        builder.query(key)
        builder.claim(probe_id, key, "self")
    for place, claim in enumerate(trial.claims):
        if not _passes(builder.gates, case, trial, claim):
            continue
        key = builder.query(_keep(out, name, case, claim.text, f"{number}.{claim.kind}{place}"))
        prompts = {normalise(member.prompt) for member in trial.members}
        same = claim.kind == "unrelated" and normalise(claim.text.prompt) in prompts  # the probe's own question
        builder.claim(probe_id, key, None if same else claim.kind, claim.level)
        if claim.kind in ("entailed", "premise"):
            about |= out.marks[key]
    out.probe_marks.setdefault(probe_id, set()).update(about)


def _passes(gates: Gates, case: Case, trial: Trial, claim: Claim) -> bool:
    """Whether a query is fit for what is claimed; every gate that is looked at is open from then on."""
    text, own = claim.text, trial.members[0]
    about = own.about
    failed = {UNANSWERED: not text.target.strip(), LEAK: contains(normalise(text.prompt), normalise(text.target))}
    if claim.kind in ("negation", "double_negation"):
        failed[NEGATION] = text.normal == own.normal
    if claim.kind == "entailed":
        failed[STATED] = any(text.normal == member.normal for member in trial.members)
    if claim.kind == "paraphrase" and about is not None:
        names = about[2:] if claim.alias else (about[0], about[2])
        failed[SUBJECT] = not all(mentions(text.normal, normalise(name)) for name in names)
    gates.open(*failed)
    gate = next((gate for gate, fails in failed.items() if fails), None)
    if gate is not None:
        gates.count(gate, f"{case.where}: {text.prompt} | {text.target}")
    return gate is None


def _keep(out: CasesBuilder, name: str, case: Case, text: Text, place: str) -> str:
    sample = Sample(
        name=f"{case.key}:{place}", prompt=text.prompt, target=text.target, domain=case.domain,
        cluster=case.cluster or case.key, template=None, source=case.where,
    )  # fmt: skip
    key = out.builder.sample(sample)
    marks = out.marks.setdefault(key, set())
    marks |= words(f"{text.prompt} {text.target}") - set(case.ignore)
    marks.update(case.marks)
    if text.about is not None:
        out.about.setdefault(key, text.about)
    return key
