"""The tables of training sets: what they are, what was trained, what it says, and what actions did with it."""

from __future__ import annotations

import pyarrow as pa

from einfluence.store.columns import ID, OUTCOME, Columns, table

TRAINING_SETS = table(
    "One row a training set: samples in order, and how they are gone through.",
    training_set=(ID, "content hash of its samples in order and of the schedule, second stage included"),
    samples=(pa.int32(), "how many it has, without those of a second stage"),
    label=(pa.string(), "the schedule, e.g. 4 epochs in batches of 8, linear"),
    json=(pa.string(), "all fields of the schedule; under then the sample_ids of a second stage"),
)

TRAINING_SET_MEMBERS = table(
    "One row for each sample of a training set.",
    training_set=(ID, "the training set"),
    position=(pa.int32(), "order in the set, from 0"),
    sample_id=(ID, "the sample"),
)

DEFINED_TRAINING: Columns = {
    "training": (
        ID,
        "content hash of the training set, of the weights of its samples, of steps behind its schedule, and of what "
        "was computed instead",
    ),
    "training_set": (ID, "the training set"),
    "kind": (
        pa.string(),
        "full, without (a probe), subset, watched (the full one before its end); removed, reweighted or unlearned by "
        "an action",
    ),
    "about": (
        pa.string(),
        "probe_id of the probe left out, number of the subset, steps watched; empty for the others",
    ),
}

TRAININGS = table(
    "One row for each training of a set that was done: which samples it left out, and what happened to it.",
    base=(ID, "the base"),
    recipe=(ID, "adapter and optimizer, in `recipes`"),
    seed=(pa.int64(), "seed of the start values and of the order"),
    **DEFINED_TRAINING,
    **OUTCOME,
)

TRAINING_WEIGHTS = table(
    "One row for each sample that a training weighs other than 1.",
    training=(ID, "the training"),
    position=(pa.int32(), "the sample's, in the training set"),
    weight=(pa.float64(), "what its loss is multiplied by; 0 where it is left out"),
)

TRAINING_SCORES = table(
    "One row for each training and query: what the trained model says.",
    base=(ID, "the base"),
    recipe=(ID, "adapter and optimizer"),
    seed=(pa.int64(), "the seed"),
    training=(ID, "the training"),
    step=(pa.int32(), "after how many steps it was watched; null at the end of a training"),
    query_id=(ID, "sample_id of the query"),
    logprob=(pa.float64(), "nats, summed over the target's tokens, after the training"),
    logprob_base=(pa.float64(), "the same, before it"),
    n_tokens=(pa.int32(), "tokens of the target; 1 for a class"),
    rank=(pa.int32(), "the largest of the ranks of the target's tokens, or the rank of the label, after the training"),
    engine_version=(pa.string(), "version of the definition of the numbers"),
)

SUBSET_TRAININGS = table(
    "One row for each arm of random subsets and training that it regresses on.",
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator of the arm"),
    recipe=(ID, "the recipe of the arm"),
    seed=(pa.int64(), "the seed"),
    training_set=(ID, "the training set"),
    trainings=(ID, "the recipe of the trainings"),
    training=(ID, "the training"),
)

MEMORISATION = table(
    "One row for each arm within a training set, or estimate of one, and sample of the set that is a query as well.",
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe"),
    seed=(pa.int64(), "the seed"),
    training_set=(ID, "the training set"),
    probe_id=(ID, "the probe that is this sample alone"),
    sample_id=(ID, "the sample"),
    nats=(pa.float64(), "log-probability of the sample with it in the set minus without it"),
    decision=(pa.float64(), "how often it is the first choice with it in the set, minus without it; null of estimates"),
    null_nats=(pa.float64(), "the same of the presence of another sample: the next one by content hash"),
    null_decision=(pa.float64(), "the same, in decisions"),
    held_out=(pa.float64(), "its mean influence on queries that no stage of the training trains on"),
    class_held_out=(pa.float64(), "sum of its influence on those of its own class; null where there are no classes"),
    logprob=(pa.float64(), "its log-probability after the training on the whole set; null where none was done"),
    rank=(pa.int32(), "its rank there; null where none was done"),
    mislabelled=(pa.bool_(), "whether its class is known to be wrong; null where no class of the set is"),
)

SALIENCY = table(
    "One row for each token or patch of a query, of what a whole training set trains: does it speak for the target?",
    base=(ID, "the base"),
    recipe=(ID, "adapter and optimizer"),
    seed=(pa.int64(), "the seed"),
    training_set=(ID, "the training set"),
    query_id=(ID, "sample_id of the query"),
    position=(pa.int32(), "in the order of reading, from 0"),
    token=(pa.string(), "the token, in words; null of a picture"),
    patch_row=(pa.int32(), "of a picture, the row of the square patch, from 0; else null"),
    patch_column=(pa.int32(), "its column"),
    nats=(
        pa.float64(),
        "derivative of the target's log-probability by a factor that the token's embedding, or every pixel of the "
        "patch, is multiplied with: gradient times input, positive where it speaks for the target",
    ),
    engine_version=(pa.string(), "version of the definition of the numbers"),
)

SALIENT_WORDS = table(
    "One row for each arm within a training set, or estimate of one, query and its word: what the word says beside "
    "what the samples that have it did.",
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe"),
    seed=(pa.int64(), "the seed"),
    training_set=(ID, "the training set"),
    query_id=(ID, "sample_id of the query"),
    word=(pa.string(), "a token that is a whole word of letters and digits, in lower case"),
    nats=(pa.float64(), "its saliency, summed over the places where the query has it"),
    samples=(pa.int64(), "how many samples of the set have it in what they read or answer, the query itself left out"),
    influence_with=(pa.float64(), "their mean influence on the query, in nats; null where no sample has it"),
    influence_without=(pa.float64(), "that of the others; null where there are none"),
    above=(
        pa.float64(),
        "how often a sample with it has more influence on the query than one without, of all such pairs, ties as half; "
        "null where there are none",
    ),
)

TRAINED_ON = table(
    "One row for each sample that a training set trains on: what is in none of its rows is held out.",
    training_set=(ID, "the training set"),
    sample_id=(ID, "the sample"),
    stage=(pa.int32(), "1 of the set itself, 2 of those that its second stage alone trains on"),
)

ACTIONS = table(
    "One row for each action and training that it made; several actions may have made the same one.",
    base=(ID, "the base"),
    recipe=(ID, "adapter and optimizer of the trainings"),
    seed=(pa.int64(), "the seed"),
    training_set=(ID, "the training set"),
    action=(ID, "content hash of what the action is, of the base, of the way of training and of the seed"),
    kind=(pa.string(), "remove, ignore or unlearn"),
    method=(
        pa.string(),
        "how: of remove lowest, highest, nearest zero or random; of ignore learned or shuffled; of unlearn the method "
        "with what differs from its defaults, and whether it is refined",
    ),
    training=(ID, "the training"),
    reference=(ID, "the training that it is compared with"),
    chosen_by=(ID, "recipe of the arm whose influence decided; null where none did"),
    share=(pa.float64(), "of the set's samples or groups that it is about; null where there is no such thing"),
    draw=(pa.int32(), "of what is drawn, which draw; else null"),
    query_id=(ID, "the one query that it is about; null where it is about those held out"),
    about=(pa.string(), "what it is about, in words: of unlearn the forget set; else null"),
    cost=(
        pa.float64(),
        "of unlearn the samples that it goes through, over those that the retraining does; else null",
    ),
    json=(pa.string(), "all fields of the action"),
    note=(pa.string(), "what else to know"),
)

UNLEARNING = table(
    "One row for each unlearning and query: what the unlearned model says, and the two that it lies between.",
    base=(ID, "the base"),
    recipe=(ID, "adapter and optimizer of the trainings"),
    seed=(pa.int64(), "the seed"),
    training_set=(ID, "the training set"),
    method=(pa.string(), "how, as in `actions`"),
    about=(pa.string(), "the forget set, in words"),
    chosen_by=(ID, "recipe of the arm that says what is memorised; null where none does"),
    cost=(pa.float64(), "samples that the unlearning goes through, over those that the retraining does"),
    training=(ID, "the unlearned training"),
    reference=(ID, "the retraining without the forget set"),
    query_id=(ID, "sample_id of the query"),
    place=(pa.string(), "forget, rest (of the training set), second stage, or held out"),
    logprob=(pa.float64(), "nats, summed over the target's tokens, after the unlearning"),
    logprob_full=(pa.float64(), "the same after the training on all, without unlearning"),
    logprob_retrained=(pa.float64(), "the same after the retraining"),
    rank=(pa.int32(), "rank of the target, as in `training_scores`, after the unlearning"),
    rank_full=(pa.int32(), "after the training on all"),
    rank_retrained=(pa.int32(), "after the retraining"),
)
