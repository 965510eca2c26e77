"""How much each word of a query, or patch of a picture, speaks for its target in the model that a part trains."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from einfluence.engine.saliency import Salient, patches, saliency
from einfluence.errors import InputError
from einfluence.estimators.training import trained_base
from einfluence.inputs import full_training
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.prepare import Prepared, find_part
from einfluence.session import Session
from einfluence.spec import Part, Spec, TrainedBase
from einfluence.store.store import Store

MOST = 8  # patches a side of a picture
SALIENT = pa.schema(
    [
        ("position", pa.int64()),
        ("token", pa.string()),
        ("row", pa.int64()),
        ("column", pa.int64()),
        ("nats", pa.float64()),
    ]
)


def salient(
    spec: Spec,
    store: Store,
    query_id: str,
    session: Session,
    *,
    part: str | None = None,
    arm: int | None = None,
    seed: int | None = None,
) -> pa.Table:
    """The saliency of each token of a query, or of each square patch of a picture, for its target.

    The model is that which the part's whole training set makes of its base; of a part without one, the base itself.

    Args:
        spec: A spec that was run.
        store: Where.
        query_id: The query.
        session: Of this process.
        part: Which part, where several have the query.
        arm: As :attr:`einfluence.trained_base.TrainedBase.arm`.
        seed: As :attr:`einfluence.trained_base.TrainedBase.seed`.

    Returns:
        Rows of :data:`SALIENT`, in the order of reading: ``token``, or of a patch ``row`` and ``column``.

    Raises:
        InputError: When no part has the query or several have it, or the training fails.
    """
    own, item = _part_of(spec, store, query_id, part, session)
    samples, _ = session.curation(store.root / "curations" / item.curation)
    base = session.base(item.measured, own.trust_remote_code)
    which = TrainedBase(training=own.name, arm=arm, seed=seed)
    training = None if own.training_set is None else full_training(spec, own, which, session)
    with session.computing(base):
        if training is not None:
            set_, how = list(training.samples.values()), (training.recipe, training.seed)
            try:
                base = trained_base(base, *how, set_, training.schedule, later=training.later)
            except RuntimeError as error:
                raise InputError(training.where, str(error), "a training that ends with finite weights") from error
        [encoded] = encode_all(base, [samples[query_id]])
        found = saliency(base, encoded)
    rows = _tokens(base, found) if found.ids else _patches(found)
    return pa.Table.from_pylist(rows, SALIENT)


def _tokens(base: Base, found: Salient) -> list[dict[str, Any]]:
    objective: Any = base.objective
    tokenizer = getattr(objective, "tokenizer", None) or objective.encoder.tokenizer
    pairs = zip(found.ids, found.nats.tolist(), strict=True)
    return [
        {"position": at, "token": tokenizer.decode([index]), "nats": nats} for at, (index, nats) in enumerate(pairs)
    ]


def _patches(found: Salient) -> list[dict[str, Any]]:
    each = patches(found.nats, -(-max(found.nats.shape) // MOST))
    columns = each.shape[1]
    return [
        {"position": at, "row": at // columns, "column": at % columns, "nats": nats}
        for at, nats in enumerate(each.flatten().tolist())
    ]


def _part_of(spec: Spec, store: Store, query_id: str, name: str | None, session: Session) -> tuple[Part, Prepared]:
    """The part that has a query, of those of a name where one is given."""
    found: list[tuple[Part, Prepared]] = []
    for part in spec.parts:
        if name in (None, part.name):
            item = find_part(spec, part, session)
            folder = store.curation(item.curation)
            if folder is not None and query_id in session.curation(folder)[0]:
                found.append((part, item))
    if len(found) == 1:
        return found[0]
    names = ", ".join(part.name for part, _ in found)
    where = f"query {query_id}" if name is None else f"query {query_id} of part {name}"
    if found:
        raise InputError(where, f"it in the parts {names}", "--part, one of them")
    raise InputError(where, f"it in no part of {spec.name}", "a query of the spec, which was run into this store")
