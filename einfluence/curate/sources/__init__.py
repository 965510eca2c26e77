"""Published data sets in their own formats: what each is, its terms, and the reader that maps its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einfluence.curate.builder import CurationBuilder, Gates
from einfluence.curate.facts.derive import build_facts
from einfluence.curate.facts.pairs import FactsBuilder
from einfluence.curate.facts.schema import World
from einfluence.curate.sources import edits, logic, reversal, worlds
from einfluence.curate.sources.cases import Case, CasesBuilder, build_cases
from einfluence.curate.sources.conll import conll
from einfluence.curate.sources.knowedit import knowedit
from einfluence.curate.sources.rows import Place, choose_split, splits_of
from einfluence.curate.sources.sentiment import sentiment
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Sample
from einfluence.spec import Facts, Spec
from einfluence.spec import Source as SourceSpec

Reader = Callable[[Place, Gates], Iterator[Case] | World]
"""Reads items as cases, or relations and triplets as a world: facts and templates then make the samples."""
Own = Mapping[str, Any]
RowsOfSource = Callable[[Place, Gates], Iterable[tuple[str, Own, Sequence[Own]]]]
"""Where an item is, what is trained of it, and the parts of that which are only queried, as arguments of a sample."""
TOGETHER = "splits read together"


@dataclass(frozen=True)
class Source:
    """A data set that can be read.

    Args:
        title: What it is.
        terms: Licence, as its authors state it.
        citation: Whom to cite.
        gives: Kinds of relation that it provides.
        read: Its reader.
    """

    title: str
    terms: str
    citation: str
    gives: str
    read: Reader


_SIBLINGS = "self, paraphrase, reversed, sibling, neighbour, unrelated"
_CHAIN = "self, entailed, premise, sibling, unrelated; bundles"

SOURCES: Mapping[str, Source] = {
    "counterfact": Source(
        "CounterFact: counterfactual edits of facts (shapes of ROME and of EasyEdit)",
        "MIT (kmeng01/rome, kmeng01/memit)",
        "Meng et al. 2022, Locating and Editing Factual Associations in GPT, arXiv 2202.05262",
        "self, paraphrase, entailed, sibling, unrelated",
        read=edits.counterfact,
    ),
    "knowedit": Source(
        "KnowEdit: edits with what should follow and what should stay (wiki_recent, wiki_counterfact, ZsRE, WikiBio)",
        "MIT (zjunlp/EasyEdit)",
        "Zhang et al. 2024, A Comprehensive Study of Knowledge Editing for Large Language Models, arXiv 2401.01286",
        "self, paraphrase, entailed, sibling, unrelated",
        read=knowedit,
    ),
    "zsre": Source(
        "zsRE: question answering edits (shapes of MEND/ROME and of EasyEdit)",
        "MIT (eric-mitchell/mend); questions after Levy et al. 2017",
        "Levy et al. 2017, arXiv 1706.04115; Mitchell et al. 2022, arXiv 2110.11309",
        "self, paraphrase, entailed, sibling, unrelated",
        read=edits.zsre,
    ),
    "rippleedits": Source(
        "RippleEdits: what an edit should and should not change",
        "MIT (edenbiran/RippleEdits)",
        "Cohen et al. 2024, Evaluating the Ripple Effects of Knowledge Editing, arXiv 2307.12976",
        "self, paraphrase, entailed, sibling, unrelated",
        read=edits.rippleedits,
    ),
    "mquake": Source(
        "MQuAKE: multi-hop questions after edits",
        "MIT (princeton-nlp/MQuAKE)",
        "Zhong et al. 2023, MQuAKE: Assessing Knowledge Editing via Multi-Hop Questions, arXiv 2305.14795",
        _CHAIN + ", paraphrase",
        read=edits.mquake,
    ),
    "leap_of_thought": Source(
        "Leap-of-Thought: a rule, a property, and what follows",
        "MIT (alontalmor/LeapOfThought)",
        "Talmor et al. 2020, Leap-Of-Thought, arXiv 2006.06609",
        _CHAIN,
        read=logic.leap_of_thought,
    ),
    "prontoqa": Source(
        "ProntoQA: chains over a made-up taxonomy (shapes of Logic-LLM and of the authors)",
        "Apache-2.0 (asaparov/prontoqa)",
        "Saparov and He 2023, Language Models Are Greedy Reasoners, arXiv 2210.01240",
        _CHAIN + ", negation",
        read=logic.prontoqa,
    ),
    "proofwriter": Source(
        "ProofWriter: theories of facts and rules with questions (shapes of Logic-LLM and of the authors)",
        "terms not stated in the copies seen; published by the Allen Institute for AI",
        "Tafjord et al. 2021, ProofWriter, arXiv 2012.13048",
        "self, entailed, sibling, unrelated; bundles",
        read=logic.proofwriter,
    ),
    "entailmentbank": Source(
        "EntailmentBank: entailment trees over science facts",
        "Apache-2.0 (allenai/entailment_bank)",
        "Dalvi et al. 2021, Explaining Answers with Entailment Trees, arXiv 2104.08661",
        _CHAIN,
        read=logic.entailmentbank,
    ),
    "pararel": Source(
        "ParaRel: Wikidata facts with many wordings of each relation",
        "MIT (yanaiela/pararel); facts from T-REx and Wikidata",
        "Elazar et al. 2021, Measuring and Improving Consistency in PLMs, arXiv 2102.01017",
        _SIBLINGS,
        read=worlds.pararel,
    ),
    "lama": Source(
        "LAMA and negated LAMA: cloze facts, with their denials",
        "CC BY-NC 4.0 (facebookresearch/LAMA)",
        "Petroni et al. 2019, arXiv 1909.01066; Kassner and Schütze 2020, arXiv 1911.03343",
        _SIBLINGS + ", negation",
        read=worlds.lama,
    ),
    "lre": Source(
        "LRE relations: templates and pairs of 47 relations",
        "MIT (evandez/relations)",
        "Hernandez et al. 2024, Linearity of Relation Decoding, arXiv 2308.09124",
        _SIBLINGS,
        read=worlds.lre,
    ),
    "triplets": Source(
        "Plain triplets: CSV, JSONL or Parquet of subject, relation, object (and domain, template)",
        "your own",
        "-",
        _SIBLINGS,
        read=worlds.triplets,
    ),
    "country_json": Source(
        "country-json: attributes of countries",
        "MIT (samayo/country-json)",
        "samayo/country-json",
        _SIBLINGS,
        read=worlds.country_json,
    ),
    "reversal": Source(
        "Reversal curse: names and descriptions both ways, parents and children",
        "MIT (lukasberglund/reversal_curse)",
        "Berglund et al. 2023, The Reversal Curse, arXiv 2309.12288",
        "self, paraphrase, reversed, unrelated",
        read=reversal.reversal,
    ),
    "sentiment": Source(
        "UCI sentiment labelled sentences (sentence, tab, 0 or 1)",
        "CC BY 4.0 at UCI",
        "Kotzias et al. 2015, From Group to Individual Labels Using Deep Features, KDD",
        "self, sibling, unrelated",
        read=sentiment,
    ),
    "conll": Source(
        "Named entities in CoNLL-like columns (WNUT 17 and others)",
        "WNUT 17: CC BY 4.0",
        "Derczynski et al. 2017, Results of the WNUT2017 Shared Task, ACL W17-4418",
        "self, sibling, unrelated",
        read=conll,
    ),
}


def build_source(source: SourceSpec, spec: Spec, join: str | None = None) -> CasesBuilder | FactsBuilder:
    """Reads a published data set into a builder.

    Raises:
        InputError: For an unknown name, a path that is not there, or items of another form, with file and line.
    """
    found = SOURCES.get(source.name)
    if found is None:
        raise InputError("source.name", f"{source.name!r}", f"one of {', '.join(SOURCES)}")
    gates = Gates()
    read = found.read(_place(source, spec, gates), gates)
    if not isinstance(read, World):
        return build_cases(source.name, read, gates, limit=source.limit, seed=source.seed, join=join)
    facts = build_facts(read, Facts(probes=source.limit, seed=source.seed), join)
    for name, (count, example) in gates.rows.items():
        facts.builder.gates.open(name)
        facts.builder.gates.count(name, example, count)
    return facts


def build_rows(source: SourceSpec, spec: Spec, objective: str, read: RowsOfSource) -> CurationBuilder:
    """Reads a published data set into a builder, its items as rows of an objective of their own.

    An item is a probe and a query; parts that are only queried are queries too, and ``entailed`` by it.
    """
    builder = CurationBuilder()
    items = list(read(_place(source, spec, builder.gates), builder.gates))
    if not items:
        raise InputError("source.path", f"{source.path!r}, which holds no items", "at least one")
    names = [f"{source.name}#{number}" for number in range(len(items))]
    drawn = sorted(range(len(items)), key=lambda number: content_hash((names[number], source.seed)))[: source.limit]
    for number in sorted(drawn):
        where, own, parts = items[number]
        whole = Sample(name=names[number], objective=objective, source=where, **own)
        key = builder.query(builder.sample(whole))
        probe = builder.probe(whole.name, [key])
        for place, part in enumerate(parts):
            sample_queried = Sample(f"{whole.name}.{place}", objective=objective, source=where, cluster=key, **part)
            if sample_queried.sample_id != key:
                builder.claim(probe, builder.query(builder.sample(sample_queried)), "entailed", 1)
    return builder


def _place(source: SourceSpec, spec: Spec, gates: Gates) -> Place:
    """What a source names: a file, a folder or a hub id, or one split of it."""
    place: Place = spec.path(source.path)
    if not _is_there(place):
        if source.path.count("/") > 1 or source.path.startswith((".", "/", "~")) or place.suffix:
            raise InputError("source.path", f"{source.path!r}, which is not there", "a file, a folder or a hub id")
        place = source.path
    if source.split is not None:
        return choose_split(place, source.split)
    if len(splits := splits_of(place)) > 1:
        gates.count(TOGETHER, f"{', '.join(splits)}; `split` takes one", len(splits))
    return place


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False


def listing() -> list[dict[str, Any]]:
    """Name, title, terms, citation and kinds of every source, for ``einfluence curate --sources``."""
    return [
        {"name": name, "title": item.title, "terms": item.terms, "citation": item.citation, "gives": item.gives}
        for name, item in SOURCES.items()
    ]
