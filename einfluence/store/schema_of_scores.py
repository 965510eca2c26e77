"""The tables that scoring writes: the scorecard, at recipes and at one dose, and what its verdicts go by."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from einfluence.store.columns import ID, table

_SCORE: dict[str, tuple[Any, str]] = {
    "domain": (pa.string(), "the group compared; 'all' for the whole"),
    "desideratum": (pa.string(), "the property, e.g. negation"),
    "variant": (pa.string(), "which of its numbers, for people; the next eight columns say it in pieces"),
    "formula": (pa.string(), "how the number comes about, e.g. score, nats, contrast"),
    "kind": (
        pa.string(),
        "of what: noise family, claim, kind of pair or of control, together or sequentially; else null",
    ),
    "level": (pa.float64(), "noise level, steps of inference, or which fifth by distance; else null"),
    "place": (pa.string(), "where in the network: layer <k>, outside the layers, module <name>; else null"),
    "layer": (pa.int32(), "index of that layer; null where the place is no layer"),
    "about": (pa.string(), "of prompt_rescue: the desideratum whose difference it is; else null"),
    "partner": (
        ID,
        "of prompt_rescue: the recipe that it prompts with; of lds: that of the trainings; of unlearning: the method "
        "and the forget set; else null",
    ),
    "value": (pa.float64(), "the estimate; null with too few probes"),
    "ci_low": (pa.float64(), "lower end of the 95% interval"),
    "ci_high": (pa.float64(), "upper end of the 95% interval"),
    "ideal": (pa.float64(), "what ideal learning would give"),
    "null_value": (pa.float64(), "what no learning of this kind would give, here"),
    "p_value": (pa.float64(), "two-sided p of the null"),
    "start": (pa.float64(), "where the way to the ideal starts: at the null, or at what the model names as the worst"),
    "better": (pa.string(), "higher, lower, or neither: described, not judged"),
    "bar": (pa.float64(), "what the whole interval must reach; null where nothing is judged"),
    "verdict": (
        pa.string(),
        "met, violated, cannot tell or described; of prompt_rescue better, worse, alike, cannot tell or described",
    ),
    "rule": (
        pa.string(),
        "the house rule that the verdict goes by (verdict_rules), or ladder; null where the model names the bar, where "
        "nothing is judged, and in old scorecards",
    ),
    "verdict_half": (pa.string(), "the verdict if that rule were half as large; null where there is no rule"),
    "verdict_double": (pa.string(), "the verdict if it were twice as large, a part of a way at most 1; null likewise"),
    "n": (pa.int32(), "probes that count"),
    "excluded": (pa.int32(), "probes left out: not learned (the gate) or without the pairs it needs"),
    "note": (pa.string(), "what else to know, e.g. not enough probes (n=4)"),
}

DESIDERATA = table(
    "One row for each desideratum, arm and domain: the scorecard.",
    estimator=(pa.string(), "the estimator"),
    base=(ID, "the base"),
    recipe=(ID, "the recipe"),
    **_SCORE,
)

MATCHED = table(
    "One row for each desideratum, grid of recipes and domain: the scorecard where all its probes learned as much.",
    estimator=(pa.string(), "the estimator"),
    base=(ID, "the base"),
    grid=(ID, "content hash of what the recipes have in common: all but lr and steps"),
    label=(pa.string(), "what the recipes are called, as far as their labels agree"),
    recipes=(pa.list_(pa.string()), "the recipes"),
    nats=(pa.float64(), "the influence of a probe on itself that the grid is read off at; one for all grids of a base"),
    **_SCORE,
)

LADDER = table(
    "One row for each row of the scorecard whose ideal nothing can reach, and rung that it is held against.",
    estimator=(pa.string(), "the estimator of the row"),
    base=(ID, "its base"),
    recipe=(ID, "its recipe"),
    domain=(pa.string(), "its domain; 'all' for the whole"),
    desideratum=(pa.string(), "its desideratum"),
    variant=(pa.string(), "its variant"),
    rung=(pa.string(), "null, prompting, best arm (the best other trained one), or ideal learner (simulated)"),
    of=(ID, "the recipe of that arm; null of the null and of the ideal learner"),
    value=(pa.float64(), "what the rung scores, over the probes that it shares with the row"),
    ci_low=(pa.float64(), "lower end of its 95% interval; null of the null"),
    ci_high=(pa.float64(), "upper end"),
    difference=(pa.float64(), "the row minus the rung, over the same probes"),
    difference_low=(pa.float64(), "lower end of its 95% interval, paired by probe; null of the null"),
    difference_high=(pa.float64(), "upper end"),
    compared=(pa.bool_(), "whether the verdict compares with it: the better of prompting and best arm; else null"),
    n=(pa.int32(), "probes that both have, with the same queries"),
    note=(pa.string(), "what else to know"),
)

VERDICT_RULES = table(
    "One row a house rule that the verdicts of the last scoring go by.",
    rule=(pa.string(), "share, least, left or apart; a spec's `verdicts` sets them"),
    value=(pa.float64(), "how far is far enough"),
    note=(pa.string(), "what of"),
)

VERDICT_SENSITIVITY = table(
    "One row for each arm and rule: how many verdicts on the whole (domain all) would be others at half and at double "
    "of the rule.",
    estimator=(pa.string(), "the estimator"),
    base=(ID, "the base"),
    recipe=(ID, "the recipe"),
    rule=(pa.string(), "the rule; of ladder `apart` is changed"),
    value=(pa.float64(), "what it is"),
    verdicts=(pa.int64(), "how many verdicts go by it"),
    turn_at_half=(pa.int64(), "how many would be others if it were half as large"),
    turn_at_double=(pa.int64(), "how many if it were twice as large"),
)
