"""Draws docs/figures/base-and-tuned.svg: where a training on facts changed what one sample would do, layer by layer.

python -m docs.draw_base_and_tuned STORE measures in that store what it lacks (some minutes at first), prints numbers,
and draws the report's figure.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from einfluence.report.export import figures
from einfluence.report.query import parts_of, prepared
from einfluence.report.tuned import tuned
from einfluence.run import measure
from einfluence.spec import Spec
from einfluence.store.store import Store

OUT = Path(__file__).parent / "figures" / "base-and-tuned.svg"
PLACES = (r"layers\.0\.", r"layers\.1\.", r"layers\.2\.", r"layers\.3\.", r"embed|lm_head|model\.norm")
SGD: dict[str, Any] = {"adapter": "full", "optimizer": "sgd", "lr": 0.003}


def study() -> Spec:
    """A base, the same after four epochs on seven facts, and the same estimates of both."""
    of = {"estimator": "finetune", "recipe": {**SGD, "steps": 5}}
    arms = [
        {"estimator": "grad_dot", "stands_for": of, "recipe": {"adapter": {"kind": "match", "pattern": place}}}
        for place in PLACES
    ]
    facts = {"facts": {"file": "world", "probes": 14}, "arms": arms}
    learnt = {"facts": {"file": "world", "probes": 7}, "epochs": 4, "batch_size": 4}
    taught = {"estimator": "subsets", "recipe": {**SGD, "count": 2}}
    return Spec.model_validate(
        {
            "name": "base-and-tuned",
            "parts": [
                {"name": "facts", "base": "embedded:world", "training_set": learnt, "arms": [taught]},
                {"name": "before", "base": "embedded:world", **facts},
                {"name": "after", "base": {"training": "facts"}, **facts},
            ],
        }
    )


def main(store: Path) -> None:
    """Measures, prints, draws."""
    measure(study(), store, report=False)
    with Store(store).connect() as connection, tempfile.TemporaryDirectory() as folder:
        with prepared(connection):
            figure = next(found for part in parts_of(connection) if (found := tuned(connection, part)))
        drawn = [path for path in figures(connection, Path(folder), look="auto") if path.stem.startswith(figure.name)]
        shutil.copy(drawn[0], OUT)
    lines = (" | ".join(map(str, row)) for row in (figure.head, *figure.numbers))
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
