"""The marks of a language model of a world, on combinations of names that its training never joined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from pretraining.corpus import Corpus
from pretraining.ladder import WHOLE
from pretraining.language import BEGIN, PAD, Language, Relation

MARKS = {
    "in_context_repeat": 0.95,
    "in_context_paraphrase": 0.95,
    "in_context_negation": 0.90,
    "in_context_transitive": 0.90,
    "in_context_inverse": 0.80,
    "stored_facts": 0.95,
    "stored_paraphrase": 0.90,
}
"""What each share of right answers ought to reach. An answer is right if the target is the likeliest of all tokens."""

COMPETING = 4
"""Entities in the prompt of every in-context item, each with a fact of the same kind: a guess is right in a quarter."""


@dataclass(frozen=True)
class Item:
    """A prompt (with `<bos>`) and the one token that should follow."""

    prompt: list[int]
    target: int


def items(language: Language, mark: str, count: int, seed: int = 11) -> list[Item]:
    """Items of a mark; of stored facts all there are, or `count` of them if that is fewer."""
    draw = Random(f"{mark}:{seed}")
    if mark.startswith("stored"):
        return _stored(language, mark, count, draw)
    make = _transitive if mark == "in_context_transitive" else _binding
    return [make(language, mark, draw) for _ in range(count)]


def _binding(language: Language, mark: str, draw: Random) -> Item:
    """Four newcomers with a fact each (for negation also one that does not hold), then one is asked again."""
    relation = draw.choice(list(language.relations.values()))
    polarities = 2 if mark == "in_context_negation" else 1
    pairs = _reserved_pairs(language, relation, polarities, draw)
    names = list(pairs)
    holds = {name: things[0] for name, things in pairs.items()}
    lacks = {name: things[-1] for name, things in pairs.items()}
    premises: list[list[int]] = []
    stated: dict[int, int] = {}
    for name, thing in holds.items():
        stated[name] = draw.randrange(len(relation.positive))
        premises.append(relation.positive[stated[name]].fill([name], [thing]))
    if polarities == 2:
        premises += [relation.negative.fill([name], [thing]) for name, thing in lacks.items()]
    draw.shuffle(premises)
    asked = draw.choice(names)
    if polarities == 2:
        query = relation.negative.fill([asked], [lacks[asked]])
    elif mark == "in_context_inverse":
        query = relation.reversed.fill([asked], [holds[asked]])
    elif mark == "in_context_repeat":
        query = relation.positive[stated[asked]].fill([asked], [holds[asked]])
    else:
        other = draw.choice([n for n in range(len(relation.positive)) if n != stated[asked]])
        query = relation.positive[other].fill([asked], [holds[asked]])
    return _item(language, premises, query)


def _transitive(language: Language, mark: str, draw: Random) -> Item:
    """Four newcomers in four categories (newcomers too) that carry a value each; the value of one newcomer is asked."""
    first, second = (language.relations[name] for name in draw.choice(language.pairs))
    reserved = language.reserved
    names: set[int] = set()
    values: set[int] = set()
    chains: list[tuple[int, int, int]] = []
    while len(chains) < COMPETING:
        category, name = draw.sample(language.newcomers, 2)
        if category in names or name in names or not reserved[name][category]:
            continue
        open_values = [v for v in second.objects if reserved[category][v] and reserved[name][v] and v not in values]
        if open_values:
            chains.append((name, category, draw.choice(open_values)))
            names.update((name, category))
            values.add(chains[-1][2])
    premises = [draw.choice(first.positive).fill([name], [category]) for name, category, _ in chains]
    premises += [draw.choice(second.positive).fill([category], [value]) for _, category, value in chains]
    draw.shuffle(premises)
    name, _, value = draw.choice(chains)
    return _item(language, premises, draw.choice(second.positive).fill([name], [value]))


def _stored(language: Language, mark: str, count: int, draw: Random) -> list[Item]:
    found: list[Item] = []
    for index, (subject, name, thing) in enumerate(language.stored):
        templates = language.relations[name].positive
        held = language.heldout_template(index)
        asked = held if mark == "stored_paraphrase" else draw.choice([n for n in range(len(templates)) if n != held])
        found.append(_item(language, [], templates[asked].fill([subject], [thing])))
    return found if count >= len(found) else draw.sample(found, count)


def _reserved_pairs(language: Language, relation: Relation, each: int, draw: Random) -> dict[int, list[int]]:
    """Competing newcomers with `each` objects, all different; every pair is one that training never joined."""
    for _ in range(100_000):  # Small classes often have no reserved object left for some name: draw again.
        taken: set[int] = set()
        pairs: dict[int, list[int]] = {}
        for name in draw.sample(language.newcomers, COMPETING):
            free = [thing for thing in relation.objects if language.reserved[name][thing] and thing not in taken]
            if len(free) < each:
                break
            pairs[name] = draw.sample(free, each)
            taken.update(pairs[name])
        else:
            return pairs
    raise ValueError(f"too few objects of {relation.name!r} in {language.path} for {COMPETING} competing entities")


def _item(language: Language, premises: Sequence[list[int]], query: list[int]) -> Item:
    prompt = [BEGIN]
    for premise in premises:
        prompt += [*premise, language.stop]
    return Item(prompt + query[:-1], query[-1])


@torch.no_grad()
def log_probs(model: PreTrainedModel, prompts: Sequence[list[int]], batch: int = 64) -> Tensor:
    """Log-probabilities of the token after each prompt: [n, vocabulary], float32."""
    rows: list[Tensor] = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        ids = torch.full((len(part), max(map(len, part))), PAD)
        for row, prompt in enumerate(part):
            ids[row, : len(prompt)] = torch.tensor(prompt)
        last = torch.tensor([len(prompt) - 1 for prompt in part])
        # Right padding needs no mask under causal attention: nothing looks ahead.
        logits = model(input_ids=ids).logits[torch.arange(len(part)), last]
        rows.append(F.log_softmax(logits.float(), dim=-1))
    return torch.cat(rows)


def accuracy(model: PreTrainedModel, asked: Sequence[Item]) -> float:
    """Share of items whose target is the likeliest of all tokens."""
    best = log_probs(model, [item.prompt for item in asked]).argmax(-1)
    return float((best == torch.tensor([item.target for item in asked])).float().mean())


def heldout_documents(language: Language, count: int = 400) -> list[list[int]]:
    """Documents of the whole language that training did not see (another seed)."""
    corpus = Corpus(language, seed=-1)
    return [corpus.document(WHOLE).ids for _ in range(count)]


@torch.no_grad()
def perplexity(model: PreTrainedModel, documents: Sequence[list[int]], batch: int = 32) -> float:
    """Exponential of the mean negative log-probability of all tokens after `<bos>`, free choices included."""
    total, count = 0.0, 0
    for start in range(0, len(documents), batch):
        part = documents[start : start + batch]
        ids = torch.full((len(part), max(map(len, part))), PAD)
        for row, document in enumerate(part):
            ids[row, : len(document)] = torch.tensor(document)
        logits = model(input_ids=ids).logits[:, :-1].float()
        losses = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none", ignore_index=PAD)
        total += float(losses.sum())
        count += int((ids[:, 1:] != PAD).sum())
    return math.exp(total / count)


def evaluate(model: PreTrainedModel, language: Language, count: int = 1000) -> dict[str, float]:
    """Every mark and the perplexity, as `evaluation.json` holds them."""
    result = {mark: round(accuracy(model, items(language, mark, count)), 4) for mark in MARKS}
    result["perplexity"] = round(perplexity(model, heldout_documents(language)), 3)
    return result
