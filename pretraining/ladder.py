"""The plans that made the shipped models: which forms come when, and what counts as mastered."""

from __future__ import annotations

from dataclasses import replace

from pretraining.corpus import Level
from pretraining.training import Plan, Rung

_BARE = Level({"bare": 1.0})
_STATED = Level({"bare": 0.3, "binding": 0.7}, templates=1)
_WORDED = Level({"bare": 0.1, "binding": 0.9}, templates=4)
_DENIED = replace(_WORDED, relations=2, negation=0.4)
_TURNED = replace(_DENIED, inverse=0.3)
_MIXED = replace(_TURNED, shares={"binding": 0.45, "two_hop": 0.25, "stored": 0.2, "stored_hop": 0.1})
_HOPS = replace(_MIXED, shares={"binding": 0.3, "two_hop": 0.45, "stored": 0.1, "stored_hop": 0.15})
WHOLE = replace(
    _MIXED,
    shares={"binding": 0.35, "two_hop": 0.3, "stored": 0.15, "stored_hop": 0.12, "polar": 0.08},
    entities=(2, 5),
    relations=3,
    rare=0.06,
    spelled=0.05,
)
_ASKED = replace(WHOLE, shares={"binding": 0.3, "two_hop": 0.22, "stored": 0.13, "stored_hop": 0.1, "polar": 0.25})


def world_plan(seed: int = 1) -> Plan:
    """The plan of the shipped model."""
    return Plan(
        seed=seed,
        rungs=(
            Rung("bare", _BARE, 4, {"bare": 0.93}),
            Rung("statements", _STATED, 4, {"binding": 0.93}),
            Rung("paraphrases", _WORDED, 6, {"binding": 0.93}),
            Rung("negations", _DENIED, 6, {"binding": 0.93, "negation": 0.9}),
            Rung("inverses", _TURNED, 1),
            Rung("stored facts and conclusions", _MIXED, 3),
            Rung("mostly conclusions", _HOPS, 20, {"stored": 0.9, "two_hop": 0.9, "inverse": 0.9, "stored_hop": 0.9}),
            Rung("everything", WHOLE, 5, rate=0.5),
            Rung("falling rate", WHOLE, 5, rate=0.5, final_rate=0.01),
            Rung("more yes and no", _ASKED, 3, rate=0.5, final_rate=0.01),
        ),
    )
