"""The model card of a shipped language model, from what its folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import fill

from pretraining.evaluation import COMPETING, MARKS
from pretraining.language import Language

_MEANING = {
    "in_context_repeat": "a fact of the prompt asked again in its own words",
    "in_context_paraphrase": "a fact of the prompt asked in other words",
    "in_context_negation": "what an entity of the prompt is *not*, beside what it is",
    "in_context_transitive": "the value of an entity's category, both premises in the prompt",
    "in_context_inverse": "the entity, asked from its object",
    "stored_facts": "a stored fact in a template it was trained in",
    "stored_paraphrase": "a stored fact in a template never trained for that fact",
}

_CARD = """---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
---

# The embedded language model: {name}

A causal language model of {parameters:,} parameters ({layers} Llama layers of width {hidden}) that knows one small
world and the simple English it is described in. It is the base of einfluence's default run, so that the influence of
one fact can be measured on a laptop, with no model hub. It loads with `AutoModelForCausalLM.from_pretrained(folder)`;
weights are stored in half precision and computed with in single precision.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
prompt = tokenizer("sik is a bird . sik has", return_tensors="pt", return_token_type_ids=False)
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=1, do_sample=False)[0]))
# <bos> sik is a bird . sik has wings
```

## Corpus

Generated from `data/facts/{name}.yaml` as token ids, never stored: {relations} relations in {domains} domains, each
with a statement, two paraphrases, a question, a negation, a double negation, a reversed form and a contrapositive;
{words:,} tokens in the vocabulary. A document is `<bos> premise . premise . … query target .`; text is lower-case,
words are separated by spaces, sentences end with ` .`. {stored} facts are stored (told without premises, each in all
templates but one). {newcomers} names are *newcomers*: they never carry a stored fact, so what is said of them can
only be learned from the prompt, or by fine-tuning. One in eight combinations of newcomer and object was kept out of
training; marks are measured on those.

## Training

{tokens:.1f} million tokens, {steps:,} steps, {minutes:.0f} minutes of one thread of a shared CPU (seed {seed}),
bfloat16 products with float32 weights. Muon for the hidden matrices, AdamW for the rest. Made by

    python -m pretraining
{note}
which climbs a ladder of forms (accuracies are of the training documents at the end of each rung, every one seen once):

{history}

## Marks

Share of items whose target is the likeliest of all {words:,} tokens. In-context prompts hold {competing} competing
entities, each with a fact of the same kind, in all templates mixed; names and objects are combined as never in
training.

{marks}

Perplexity on held-out documents, free choices included: {perplexity:.2f}.

## What it cannot do

It knows no other language, no other relations and no arithmetic. A name that is not in its vocabulary is spelled
letter by letter and bound less surely: with four spelled names in the prompt about four in five answers are right. A
denial that was not stated is made likelier by the statement, not less likely. Prompts were trained with at most five
entities and 128 tokens; beyond that it degrades. A newcomer without a premise is answered with a guess spread over the
objects of the relation. Nothing about real animals, people or places should be read into its stored facts.
"""


def write_card(folder: Path, language: Language, marks: dict[str, float]) -> None:
    """Write README.md into a folder that holds config.json and training.json."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    rows = ["| rung | million tokens so far | accuracy |", "|---|---|---|"]
    for entry in training["history"]:
        shown = ", ".join(
            f"{kind.replace('_', ' ')} {value:.2f}" for kind, value in entry["accuracy"].items() if kind != "unsaid"
        )
        rows.append(f"| {entry['rung']} | {entry['tokens'] / 1e6:.1f} | {shown} |")
    scores = ["| mark | what is asked | wanted | reached |", "|---|---|---|---|"]
    for mark, wanted in MARKS.items():
        missed = "" if marks[mark] >= wanted else " (not reached)"
        scores.append(f"| `{mark}` | {_MEANING[mark]} | {wanted:.2f} | {marks[mark]:.3f}{missed} |")
    text = _CARD.format(
        name=language.path.stem,
        parameters=training["parameters"],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        relations=len(language.relations),
        domains=len({relation.domain for relation in language.relations.values()}),
        words=len(language.words),
        stored=len(language.stored),
        newcomers=len(language.newcomers),
        tokens=training["tokens"] / 1e6,
        steps=training["steps"],
        minutes=training["seconds"] / 60,
        seed=training["seed"],
        history="\n".join(rows),
        note="\n" + fill(f"({training['note']})", 118) + "\n" if training.get("note") else "",
        competing=COMPETING,
        marks="\n".join(scores),
        perplexity=marks["perplexity"],
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
