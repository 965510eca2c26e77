"""What models need rows of: to plan a statement takes as long over nothing as over something."""

from __future__ import annotations

_MODELS = {
    ("training_set_members",): (
        "mart_memorisation", "mart_ways", "mart_ensembles", "mart_drawn", "mart_units", "mart_predictions",
        "duplicates", "lds", "memorisation", "mislabelled", "pre_memorisation", "proxies",
    ),
    ("training_set_members", "actions"): (
        "mart_held_out", "mart_action_changes", "mart_removal", "mart_ignoring", "mart_control_draws",
        "mart_unlearning", "ignoring", "removal", "unlearning",
    ),
    ("stg_estimates",): (
        "mart_estimates", "mart_fidelity", "mart_fidelity_by_kind", "mart_fidelity_by_distance",
        "mart_fidelity_by_query", "fidelity", "fragility",
    ),
    ("saliency",): ("saliency",),
    ("stg_restorations",): ("layer_restoration",),
    ("layer_updates",): ("layers",),
    ("mart_claims",): ("synergy",),
    ("mart_noise",): ("noise_invariance", "noise_quality"),
}  # fmt: skip

NEEDS = {model: tables for tables, models in _MODELS.items() for model in models}
"""By model the tables without whose rows it has none. What reads such a mart needs the same tables."""
