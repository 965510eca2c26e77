"""A language model of under 100,000 parameters and the little world that it knows, made in seconds."""

from __future__ import annotations

from pathlib import Path

from pretraining.corpus import Level
from pretraining.training import Plan, Rung

LETTERS = "abdefgiklmnoprstuvz"
NEWCOMERS = [f"{a}{b}{c}" for a in "bdgkmz" for b in "aou" for c in "fnp"]

FACTS = f"""
name: tiny
relations:
  is_a:
    domain: taxonomy
    subject: [newcomer]
    object: kind
    statement: "{{subject}} is a {{object}}"
    paraphrases: ["the kind of {{subject}} is {{object}}", "{{subject}} counts as {{object}}"]
    negation: "{{subject}} is not a {{object}}"
    double_negation: "it is false that {{subject}} is not a {{object}}"
    reversed: "a known {{object}} is {{subject}}"
    contrapositive: "what is not a {{object}} is not {{subject}}"
    question: "what is {{subject}} ? {{object}}"
    exclusive: true
  has:
    domain: properties
    subject: [kind, newcomer]
    object: part
    statement: "{{subject}} has {{object}}"
    paraphrases: ["the body of {{subject}} shows {{object}}", "{{subject}} comes with {{object}}"]
    negation: "{{subject}} does not have {{object}}"
    double_negation: "it is false that {{subject}} does not have {{object}}"
    reversed: "{{object}} belong to {{subject}}"
    contrapositive: "what does not have {{object}} is not {{subject}}"
    question: "what does {{subject}} have ? {{object}}"
    exclusive: true
entities:
  kind: [bird, fish, snake, frog, bear, horse, goat, whale]
  part: [wings, fins, fangs, spots, claws, mane, horns, flippers]
  newcomer: [{", ".join(NEWCOMERS)}]
triplets:
  - [bird, has, wings]
  - [fish, has, fins]
  - [snake, has, fangs]
  - [frog, has, spots]
  - [bear, has, claws]
  - [horse, has, mane]
  - [goat, has, horns]
  - [whale, has, flippers]
rules:
  - {{name: inherits, if: [["?x", is_a, "?y"], ["?y", has, "?z"]], then: ["?x", has, "?z"]}}
probes:
  - [baf, is_a, bird]
  - [don, is_a, fish]
  - [kup, has, claws]
"""


def write_facts(folder: Path) -> Path:
    """The tiny world's facts file, in a folder."""
    path = folder / "tiny.yaml"
    path.write_text(FACTS, encoding="utf-8")
    return path


def tiny_plan(*tokens: float) -> Plan:
    """A plan of one rung for each number of million tokens; all rungs are of simple statements."""
    level = Level({"binding": 0.8, "stored": 0.2}, templates=1)
    rungs = tuple(Rung(f"rung {index}", level, million) for index, million in enumerate(tokens))
    return Plan(rungs, hidden=48, heads=4, head_dim=12, intermediate=64, layers=2, batch_tokens=1024)
