"""The tables: their columns, types and meaning. The two halves of the library meet here.

Every number is a cell: one (base, estimator, recipe, probe, query, seed). Influence is in nats, positive where
the probe helped the query; where it was measured it is ``logprob_after - logprob_before``, both sums over the target's
tokens.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

STORE_VERSION = 2

_id = pa.string()


def _table(doc: str, **columns: tuple[Any, str]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"doc": text}) for name, (kind, text) in columns.items()]
    return pa.schema(fields, metadata={"doc": doc})


SAMPLES = _table(
    "One row a sample: a text (prompt, target), an image (with its class), or the inputs and the target of another "
    "objective.",
    sample_id=(
        _id,
        "content hash of what the model sees: prompt and target of a text (and what is between them, where it is "
        "not the plain blank), pixels and label of an image, else objective, inputs and target",
    ),
    name=(pa.string(), "the id that the user or the curation gave it"),
    modality=(pa.string(), "text or image"),
    prompt=(pa.string(), "text before the target; may be empty"),
    target=(pa.string(), "the text or the class whose log-probability is watched, in words"),
    label=(pa.int32(), "index of the class"),
    label_name=(pa.string(), "what the base, or else the data, calls that class; null where it is just the number"),
    pixels=(
        pa.list_(pa.float32()),
        "the image as channels x height x width, flattened; values in [0, 1]; null if it cannot be read",
    ),
    shape=(pa.list_(pa.int32()), "channels, height, width"),
    domain=(pa.string(), "the group that results are compared by: knowledge domain or image class"),
    cluster=(pa.string(), "what is resampled together in the bootstrap: entity or template family; own id by default"),
    template=(pa.string(), "the template that made the text, or null"),
    source=(pa.string(), "where it came from: file and line, data set and row"),
    parent_id=(_id, "for a noisy or flipped sample: the clean sample_id"),
    noise=(pa.string(), "noise family, e.g. gaussian, blur, label_flip; null for a clean sample"),
    level=(
        pa.float64(),
        "strength of the noise in its family's own unit (dB for all but label_flip); grows with damage",
    ),
    gap=(
        pa.string(),
        "what the model sees between prompt and target, a blank or nothing by default; null where there is no prompt",
    ),
    objective=(pa.string(), "the kind of problem: causal_lm, image_class, ...; null in old curations"),
    inputs=(pa.string(), "what the model sees beside the target, as JSON; null where that is a prompt or pixels"),
)

PROBES = _table(
    "One row a probe: what a copy of the model is fine-tuned on.",
    probe_id=(_id, "content hash of its members in order, and of whether they are trained sequentially"),
    name=(pa.string(), "the user's id"),
    kind=(pa.string(), "sample, bundle, sequence, noisy, or control"),
    control=(
        pa.string(),
        "of a control, which: shuffled words or length-matched; null of all others, and in old curations",
    ),
)

PROBE_MEMBERS = _table(
    "One row for each sample in a probe; those of a bundle are trained together, those of a sequence sequentially.",
    probe_id=(_id, "the probe"),
    position=(pa.int32(), "order in the bundle or sequence, from 0"),
    sample_id=(_id, "the sample"),
)

RELATIONS = _table(
    "One row for each wanted (probe, query) pair: why it is interesting and how far apart the two are.",
    probe_id=(_id, "the probe"),
    query_id=(_id, "sample_id of the query"),
    kind=(pa.string(), "self, paraphrase, negation, ..., unrelated; null where nothing is claimed"),
    level=(pa.float64(), "noise level for kind noisy; depth of inference for entailed; else null"),
    distance=(pa.float32(), "semantic distance of probe and query (the part's first distance measure), >= 0"),
)

DISTANCES = _table(
    "One row for each wanted pair and further distance measure.",
    probe_id=(_id, "the probe"),
    query_id=(_id, "sample_id of the query"),
    measure=(pa.string(), "name of the measure: hidden, lexical, taxonomic, pixel, ..."),
    distance=(pa.float32(), "distance by that measure, >= 0"),
)

BASES = _table(
    "One row a base: a model before fine-tuning.",
    base=(
        _id,
        "content hash of weights, configuration, tokenizer and trusted code; of a base that another part trained, of "
        "that part's base and of the training",
    ),
    label=(pa.string(), "what a person calls it: hub id or folder name"),
    modality=(pa.string(), "text or image"),
    json=(pa.string(), "all that is known of it"),
)

RECIPES = _table(
    "One row a recipe: how a probe is trained (or put into the prompt).",
    recipe=(
        _id,
        "content hash of the estimator and of the fields that are not the defaults; of adapter and optimizer those of "
        "the chosen kind",
    ),
    estimator=(pa.string(), "the estimator it belongs to"),
    label=(pa.string(), "short name, e.g. lora r8 adamw 0.003 x 10"),
    json=(pa.string(), "all its fields"),
    stands_for=(
        pa.string(),
        "of an estimate, the recipe of the intervention that it predicts; null for an intervention",
    ),
    unit=(pa.string(), "none where its numbers only rank, as imported scores do; null where they are nats"),
    training_set=(_id, "of an arm within a training set, that set; null of others, and in old stores"),
    trainings=(_id, "of such an arm, the recipe of the trainings that it compares; null of others, and in old stores"),
)

INFLUENCE = _table(
    "One row a cell.",
    base=(_id, "the base"),
    estimator=(pa.string(), "finetune, in_context, ..."),
    recipe=(_id, "the recipe"),
    probe_id=(_id, "the probe"),
    query_id=(_id, "sample_id of the query"),
    seed=(pa.int64(), "seed of the adapter's initialisation; 0 where nothing is drawn"),
    influence=(
        pa.float64(),
        "nats that the probe added to the query's log-probability; where it was measured, logprob_after - "
        "logprob_before",
    ),
    logprob_before=(pa.float64(), "nats, summed over the target's tokens, before; null where nothing was measured"),
    logprob_after=(pa.float64(), "the same, after"),
    n_tokens=(pa.int32(), "tokens of the target; 1 for an image"),
    rank_before=(
        pa.int32(),
        "the largest of the ranks of the target's tokens (1 = first choice), or the rank of the label, before",
    ),
    rank_after=(pa.int32(), "the same, after"),
    engine_version=(pa.string(), "version of the definition of the numbers"),
)

OUTCOMES = _table(
    "One row for each probe trained: what happened to it.",
    base=(_id, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(_id, "the recipe"),
    probe_id=(_id, "the probe"),
    seed=(pa.int64(), "the seed"),
    status=(pa.string(), "done or failed"),
    reason=(pa.string(), "why it failed; of one that is done, what else to know, else null"),
    losses=(pa.list_(pa.float64()), "nats per target token, before each step"),
    grad_norm=(pa.float64(), "Euclidean norm of the first step's gradient over the trained parameters"),
    update_norm=(pa.float64(), "Euclidean norm of the change of the effective weights"),
    noise_rms=(
        pa.float64(),
        "nats; root mean square error of influence by rounding, from a few probes of its block: of bfloat16 against "
        "float32, of float32 with Adam or AdamW against float64; null where it was not measured",
    ),
    engine=(
        pa.string(),
        "what computed it: definition, batched lora, low-rank sgd, one by one, images, generic, or shared prefixes"
        " (in_context)",
    ),
    fallback=(pa.string(), "why a faster engine was passed over; null where none was"),
    seconds=(pa.float64(), "wall time of this probe's share of its shard"),
    engine_version=(pa.string(), "version of the definition of the numbers"),
)

LAYER_UPDATES = _table(
    "One row for each probe and weight matrix: where the update went.",
    base=(_id, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(_id, "the recipe"),
    probe_id=(_id, "the probe"),
    seed=(pa.int64(), "the seed"),
    parameter=(pa.string(), "the parameter's name in the base"),
    layer=(pa.int32(), "index of the block it is in; null outside the blocks"),
    update_norm=(pa.float64(), "Frobenius norm of its change"),
    relative_update=(pa.float64(), "that, over the norm of the parameter before"),
)

TRAINING_SETS = _table(
    "One row a training set: samples in order, and how they are gone through.",
    training_set=(_id, "content hash of its samples in order and of the schedule, second stage included"),
    samples=(pa.int32(), "how many it has, without those of a second stage"),
    label=(pa.string(), "the schedule, e.g. 4 epochs in batches of 8, linear"),
    json=(pa.string(), "all fields of the schedule; under then the sample_ids of a second stage"),
)

TRAINING_SET_MEMBERS = _table(
    "One row for each sample of a training set.",
    training_set=(_id, "the training set"),
    position=(pa.int32(), "order in the set, from 0"),
    sample_id=(_id, "the sample"),
)

_TRAINING: dict[str, tuple[Any, str]] = {
    "training": (_id, "content hash of the training set and of the samples that are left out"),
    "training_set": (_id, "the training set"),
    "kind": (pa.string(), "full, without (a probe), subset, or watched (the full one before its end)"),
    "about": (
        pa.string(),
        "probe_id of the probe left out, number of the subset, steps watched; empty for the full one",
    ),
}

TRAININGS = _table(
    "One row for each training of a set that was done: which samples it left out, and what happened to it.",
    base=(_id, "the base"),
    recipe=(_id, "adapter and optimizer, in `recipes`"),
    seed=(pa.int64(), "seed of the start values and of the order"),
    **_TRAINING,
    **{
        name: (OUTCOMES.field(name).type, OUTCOMES.field(name).metadata[b"doc"].decode())
        for name in OUTCOMES.names
        if name not in ("base", "estimator", "recipe", "probe_id", "seed")
    },
)

TRAINING_WEIGHTS = _table(
    "One row for each sample that a training weighs other than 1.",
    training=(_id, "the training"),
    position=(pa.int32(), "the sample's, in the training set"),
    weight=(pa.float64(), "what its loss is multiplied by; 0 where it is left out"),
)

TRAINING_SCORES = _table(
    "One row for each training and query: what the trained model says.",
    base=(_id, "the base"),
    recipe=(_id, "adapter and optimizer"),
    seed=(pa.int64(), "the seed"),
    training=(_id, "the training"),
    step=(pa.int32(), "after how many steps it was watched; null at the end of a training"),
    query_id=(_id, "sample_id of the query"),
    logprob=(pa.float64(), "nats, summed over the target's tokens, after the training"),
    logprob_base=(pa.float64(), "the same, before it"),
    n_tokens=(pa.int32(), "tokens of the target; 1 for a class"),
    rank=(pa.int32(), "the largest of the ranks of the target's tokens, or the rank of the label, after the training"),
    engine_version=(pa.string(), "version of the definition of the numbers"),
)

SUBSET_TRAININGS = _table(
    "One row for each arm of random subsets and training that it regresses on.",
    base=(_id, "the base"),
    estimator=(pa.string(), "the estimator of the arm"),
    recipe=(_id, "the recipe of the arm"),
    seed=(pa.int64(), "the seed"),
    training_set=(_id, "the training set"),
    trainings=(_id, "the recipe of the trainings"),
    training=(_id, "the training"),
)

MEMORISATION = _table(
    "One row for each arm within a training set, or estimate of one, and sample of the set that is a query as well.",
    base=(_id, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(_id, "the recipe"),
    seed=(pa.int64(), "the seed"),
    training_set=(_id, "the training set"),
    probe_id=(_id, "the probe that is this sample alone"),
    sample_id=(_id, "the sample"),
    nats=(pa.float64(), "log-probability of the sample with it in the set minus without it"),
    decision=(pa.float64(), "how often it is the first choice with it in the set, minus without it; null of estimates"),
    null_nats=(pa.float64(), "the same of the presence of another sample: the next one by content hash"),
    null_decision=(pa.float64(), "the same, in decisions"),
    held_out=(pa.float64(), "its mean influence on queries that are not in the set"),
    class_held_out=(pa.float64(), "sum of its influence on those of its own class; null where there are no classes"),
    logprob=(pa.float64(), "its log-probability after the training on the whole set; null where none was done"),
    rank=(pa.int32(), "its rank there; null where none was done"),
    mislabelled=(pa.bool_(), "whether its class is known to be wrong; null where no class of the set is"),
)

RESTORATIONS = _table(
    "One row for each probe, place in the network and query: what is left of the influence without the change there.",
    base=(_id, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(_id, "the recipe"),
    probe_id=(_id, "the probe"),
    query_id=(_id, "sample_id of the query"),
    seed=(pa.int64(), "the seed"),
    place=(pa.string(), "whose parameters were set back to the base's: layer <k>, or outside the layers"),
    layer=(pa.int32(), "index of that layer; null outside the layers, and in old rows"),
    logprob_before=(pa.float64(), "nats, summed over the target's tokens, before"),
    logprob_after=(pa.float64(), "the same, after training"),
    logprob_restored=(pa.float64(), "the same, after training, with the change at this place undone"),
    engine_version=(pa.string(), "version of the definition of the numbers"),
)

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
    "partner": (_id, "of prompt_rescue: the recipe that it prompts with; of lds: that of the trainings; else null"),
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
    "n": (pa.int32(), "probes that count"),
    "excluded": (pa.int32(), "probes left out: not learned (the gate) or without the pairs it needs"),
    "note": (pa.string(), "what else to know, e.g. not enough probes (n=4)"),
}

DESIDERATA = _table(
    "One row for each desideratum, arm and domain: the scorecard.",
    estimator=(pa.string(), "the estimator"),
    base=(_id, "the base"),
    recipe=(_id, "the recipe"),
    **_SCORE,
)

MATCHED = _table(
    "One row for each desideratum, grid of recipes and domain: the scorecard where all its probes learned as much.",
    estimator=(pa.string(), "the estimator"),
    base=(_id, "the base"),
    grid=(_id, "content hash of what the recipes have in common: all but lr and steps"),
    label=(pa.string(), "what the recipes are called, as far as their labels agree"),
    recipes=(pa.list_(pa.string()), "the recipes"),
    nats=(pa.float64(), "the influence of a probe on itself that the grid is read off at; one for all grids of a base"),
    **_SCORE,
)

TABLES: dict[str, pa.Schema] = {
    "samples": SAMPLES,
    "probes": PROBES,
    "probe_members": PROBE_MEMBERS,
    "relations": RELATIONS,
    "distances": DISTANCES,
    "bases": BASES,
    "recipes": RECIPES,
    "influence": INFLUENCE,
    "outcomes": OUTCOMES,
    "layer_updates": LAYER_UPDATES,
    "restorations": RESTORATIONS,
    "training_sets": TRAINING_SETS,
    "training_set_members": TRAINING_SET_MEMBERS,
    "trainings": TRAININGS,
    "training_weights": TRAINING_WEIGHTS,
    "training_scores": TRAINING_SCORES,
    "subset_trainings": SUBSET_TRAININGS,
    "memorisation": MEMORISATION,
    "desiderata": DESIDERATA,
    "matched": MATCHED,
}

SCORED = ("desiderata", "matched")
"""The tables that scoring writes whole, each in one file, and all of them in one step."""

DEFINED = {
    "training_sets": TRAINING_SETS,
    "training_set_members": TRAINING_SET_MEMBERS,
    "trainings": _table("One row a training: which samples of which set it leaves out.", **_TRAINING),
    "training_weights": TRAINING_WEIGHTS,
}
"""The files that say what was trained on, each named by its content; what came of it is in the parts of an arm."""

TRAINING = "training"
"""The estimator that trainings of sets have in :data:`PARTED` tables, as probes; views show them apart."""

PARTED = ("influence", "outcomes", "layer_updates", "restorations")
"""The tables that arms write part by part, partitioned by base and estimator."""


def completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table in the schema's columns; one that was added to the schema after the table was written is null."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names)
