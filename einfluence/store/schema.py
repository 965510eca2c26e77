"""The tables: their columns, types and meaning. The two halves of the library meet here.

Every number is a cell: one (base, estimator, recipe, probe, query, seed). Influence is in nats, positive where
the probe helped the query; where it was measured it is ``logprob_after - logprob_before``, both sums over the target's
tokens.
"""

from __future__ import annotations

import pyarrow as pa

from einfluence.store.columns import ID, OUTCOME, table
from einfluence.store.schema_of_samples import ARM_PROBES, ARM_RELATIONS, INFERRED, SAMPLED
from einfluence.store.schema_of_scores import DESIDERATA, LADDER, MATCHED, VERDICT_RULES, VERDICT_SENSITIVITY
from einfluence.store.schema_of_sets import (
    ACTIONS,
    DEFINED_TRAINING,
    MEMORISATION,
    SALIENCY,
    SALIENT_WORDS,
    SUBSET_TRAININGS,
    TRAINED_ON,
    TRAINING_SCORES,
    TRAINING_SET_MEMBERS,
    TRAINING_SETS,
    TRAINING_WEIGHTS,
    TRAININGS,
    UNLEARNING,
)

STORE_VERSION = 2

SAMPLES = table(
    "One row a sample: a text (prompt, target), an image (with its class), or the inputs and the target of another "
    "objective.",
    sample_id=(
        ID,
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
    parent_id=(ID, "for a noisy or flipped sample: the clean sample_id"),
    noise=(pa.string(), "noise family, e.g. gaussian, blur, label_flip; null for a clean sample"),
    level=(
        pa.float64(),
        "strength of the noise in its family's own unit (dB of images, the share changed of texts, 1 for label_flip); "
        "grows with damage",
    ),
    gap=(
        pa.string(),
        "what the model sees between prompt and target, a blank or nothing by default; null where there is no prompt",
    ),
    objective=(pa.string(), "the kind of problem: causal_lm, image_class, ...; null in old curations"),
    inputs=(pa.string(), "what the model sees beside the target, as JSON; null where that is a prompt or pixels"),
)

PROBES = table(
    "One row a probe: what a copy of the model is fine-tuned on.",
    probe_id=(ID, "content hash of its members in order, and of whether they are trained sequentially"),
    name=(pa.string(), "the user's id"),
    kind=(pa.string(), "sample, chat (all answers of a row, trained together), bundle, sequence, noisy, or control"),
    control=(
        pa.string(),
        "of a control, which: shuffled words or length-matched; null of all others, and in old curations",
    ),
)

PROBE_MEMBERS = table(
    "One row for each sample in a probe; those of a bundle or chat are trained together, of a sequence sequentially.",
    probe_id=(ID, "the probe"),
    position=(pa.int32(), "order in the bundle, chat or sequence, from 0"),
    sample_id=(ID, "the sample"),
)

RELATIONS = table(
    "One row for each wanted (probe, query) pair: why it is interesting and how far apart the two are. Where several "
    "parts want it, what is claimed takes precedence over nothing, then the latest part; arm_relations has the rest.",
    probe_id=(ID, "the probe"),
    query_id=(ID, "sample_id of the query"),
    kind=(pa.string(), "self, paraphrase, negation, ..., unrelated; null where nothing is claimed"),
    level=(
        pa.float64(),
        "noise level for kind noisy; depth of inference for entailed; similarity for near_duplicate and contradiction; "
        "else null",
    ),
    distance=(pa.float32(), "semantic distance of probe and query (the part's first distance measure), >= 0"),
)

WANTED = table(
    "One row for each arm that a study's latest run had, and probe: how many cells it wants of it with each seed.",
    base=(ID, "the base; null where an old store does not say which arms a study had"),
    recipe=(ID, "the recipe; null likewise"),
    probe_id=(ID, "the probe; also those outside the training set, where the arm is about one"),
    queries=(pa.int32(), "how many queries"),
)

DISTANCES = table(
    "One row for each wanted pair and further distance measure.",
    probe_id=(ID, "the probe"),
    query_id=(ID, "sample_id of the query"),
    measure=(pa.string(), "name of the measure: hidden, lexical, taxonomic, pixel, ..."),
    distance=(pa.float32(), "distance by that measure, >= 0"),
)

BASES = table(
    "One row a base: a model before fine-tuning.",
    base=(
        ID,
        "content hash of weights, configuration, tokenizer and trusted code; of a base that another part trained, of "
        "that part's base and of the training",
    ),
    label=(pa.string(), "what a person calls it: hub id or folder name"),
    modality=(pa.string(), "text or image"),
    json=(pa.string(), "all that is known of it"),
)

RECIPES = table(
    "One row a recipe: how a probe is trained (or put into the prompt).",
    recipe=(
        ID,
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
    training_set=(ID, "of an arm within a training set, that set; null of others, and in old stores"),
    trainings=(ID, "of such an arm, the recipe of the trainings that it compares; null of others, and in old stores"),
    fit=(
        ID,
        "of an estimator that is fitted, what names its states beside base and seed: arms that share states have the "
        "same; null of others, and in old stores",
    ),
)

INFLUENCE = table(
    "One row a cell.",
    base=(ID, "the base"),
    estimator=(pa.string(), "finetune, in_context, ..."),
    recipe=(ID, "the recipe"),
    probe_id=(ID, "the probe"),
    query_id=(ID, "sample_id of the query"),
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

OUTCOMES = table(
    "One row for each probe trained: what happened to it.",
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe"),
    probe_id=(ID, "the probe"),
    seed=(pa.int64(), "the seed"),
    **OUTCOME,
)

STATES = table(
    "One row for each state that an estimator was fitted to, or that an action learned.",
    state=(ID, "content hash of all that it depends on"),
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe of the arm that it was fitted for; others may share it"),
    seed=(pa.int64(), "the seed"),
    fit=(ID, "as recipes.fit, by which all arms that use it are found; null of old ones"),
    curation=(ID, "key of the curation"),
    samples=(pa.int64(), "how many it was fitted to"),
    bytes=(pa.int64(), "of its tensors, on the disk"),
    seconds=(pa.float64(), "wall time of the fit; null of old ones"),
    memory=(pa.int64(), "bytes that the process held at most during the fit, beyond those before; null as in outcomes"),
)

LAYER_UPDATES = table(
    "One row for each probe and weight matrix: where the update went.",
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe"),
    probe_id=(ID, "the probe"),
    seed=(pa.int64(), "the seed"),
    parameter=(pa.string(), "the parameter's name in the base"),
    layer=(pa.int32(), "index of the block it is in; null outside the blocks"),
    update_norm=(pa.float64(), "Frobenius norm of its change"),
    relative_update=(pa.float64(), "that, over the norm of the parameter before"),
)

RESTORATIONS = table(
    "One row for each probe, place in the network and query: what is left of the influence without the change there.",
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe"),
    probe_id=(ID, "the probe"),
    query_id=(ID, "sample_id of the query"),
    seed=(pa.int64(), "the seed"),
    place=(pa.string(), "whose parameters were set back to the base's: layer <k>, or outside the layers"),
    layer=(pa.int32(), "index of that layer; null outside the layers, and in old rows"),
    logprob_before=(pa.float64(), "nats, summed over the target's tokens, before"),
    logprob_after=(pa.float64(), "the same, after training"),
    logprob_restored=(pa.float64(), "the same, after training, with the change at this place undone"),
    engine_version=(pa.string(), "version of the definition of the numbers"),
)

BASE_CHANGES = table(
    "One row for each recipe, seed and probe that two bases both have, and pair of them: does the probe do the same?",
    base=(ID, "one base, as before a tuning"),
    other_base=(ID, "another, as after it; each pair is there both ways round"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe"),
    seed=(pa.int64(), "the seed"),
    probe_id=(ID, "the probe"),
    queries=(pa.int32(), "how many queries both have, without the probe's own samples"),
    spearman=(pa.float64(), "rank correlation of the two rows of influence; null where one has no order"),
    size=(pa.float64(), "mean of |influence| at the base"),
    other_size=(pa.float64(), "the same at the other"),
)

TABLES: dict[str, pa.Schema] = {
    "samples": SAMPLES,
    "probes": PROBES,
    "probe_members": PROBE_MEMBERS,
    "relations": RELATIONS,
    "arm_relations": ARM_RELATIONS,
    "arm_probes": ARM_PROBES,
    "distances": DISTANCES,
    "wanted": WANTED,
    "bases": BASES,
    "recipes": RECIPES,
    "influence": INFLUENCE,
    "sampled": SAMPLED,
    "influence_inferred": INFERRED,
    "outcomes": OUTCOMES,
    "states": STATES,
    "layer_updates": LAYER_UPDATES,
    "restorations": RESTORATIONS,
    "training_sets": TRAINING_SETS,
    "training_set_members": TRAINING_SET_MEMBERS,
    "trainings": TRAININGS,
    "training_weights": TRAINING_WEIGHTS,
    "training_scores": TRAINING_SCORES,
    "subset_trainings": SUBSET_TRAININGS,
    "memorisation": MEMORISATION,
    "saliency": SALIENCY,
    "salient_words": SALIENT_WORDS,
    "actions": ACTIONS,
    "trained_on": TRAINED_ON,
    "unlearning": UNLEARNING,
    "base_changes": BASE_CHANGES,
    "desiderata": DESIDERATA,
    "matched": MATCHED,
    "ladder": LADDER,
    "verdict_rules": VERDICT_RULES,
    "verdict_sensitivity": VERDICT_SENSITIVITY,
}

SCORED = ("desiderata", "matched", "ladder", "verdict_rules")
"""The tables that scoring writes whole, each in one file, and all of them in one step."""

DEFINED = {
    "training_sets": TRAINING_SETS,
    "training_set_members": TRAINING_SET_MEMBERS,
    "trainings": table("One row a training: which samples of which set it leaves out.", **DEFINED_TRAINING),
    "training_weights": TRAINING_WEIGHTS,
    "actions": ACTIONS,
    "saliency": SALIENCY,
}
"""The files that say what was trained on, and what single trained models were asked, each named by its content; what
trainings say of all queries is in the parts of an arm."""

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
