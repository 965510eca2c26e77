"""The tables about single arms: what their own parts say of pairs, and which cells are measured or inferred."""

from __future__ import annotations

import pyarrow as pa

from einfluence.store.columns import ID, table

ARM_RELATIONS = table(
    "One row for each arm and pair of which the arm's own parts say something else than relations. The scorecard goes "
    "by it.",
    base=(ID, "the base"),
    recipe=(ID, "the recipe"),
    probe_id=(ID, "the probe"),
    query_id=(ID, "sample_id of the query"),
    kind=(pa.string(), "as in relations, by the arm's own parts"),
    level=(pa.float64(), "as in relations"),
    distance=(pa.float32(), "as in relations; features may be another base's there"),
)

ARM_PROBES = table(
    "One row for each arm and probe that the arm's own parts call another kind than probes: noise in one part may be a "
    "sample in another.",
    base=(ID, "the base"),
    recipe=(ID, "the recipe"),
    probe_id=(ID, "the probe"),
    kind=(pa.string(), "as in probes, by the arm's own parts"),
)

SAMPLED = table(
    "One row for each arm of a study's latest run that measures some of its cells, and pair that it relates.",
    base=(ID, "the base"),
    recipe=(ID, "the recipe"),
    control=(ID, "the recipe of the estimate by which the other cells are inferred"),
    probe_id=(ID, "the probe"),
    query_id=(ID, "sample_id of the query"),
    share=(pa.float64(), "the probability that its cell is measured: 1 where something is claimed of the pair"),
    drawn=(pa.bool_(), "whether it is to be measured"),
)

INFERRED = table(
    "One row for each cell of such an arm, measured or inferred; `influence` has only those that were measured.",
    base=(ID, "the base"),
    estimator=(pa.string(), "the estimator"),
    recipe=(ID, "the recipe"),
    probe_id=(ID, "the probe"),
    query_id=(ID, "sample_id of the query"),
    seed=(pa.int64(), "the seed"),
    measured=(pa.bool_(), "whether it was measured; else it was inferred"),
    share=(pa.float64(), "as in sampled"),
    influence=(
        pa.float64(),
        "nats, as measured; or by the regression, over the probe's cells that were drawn, of what was measured on what "
        "the control says",
    ),
    ci_low=(
        pa.float64(),
        "what 95% of a probe's inferred cells lie above and below: by the errors of cells that were drawn, each left "
        "out of its regression; null where the cell was measured, or fewer than 19 were drawn",
    ),
    ci_high=(pa.float64(), "the other end"),
)
