"""The examples of docs/curation.md run as they stand, and its tables name what there is."""

import re
from pathlib import Path

from PIL import Image

from einfluence.curate import curate
from einfluence.curate.builder import KINDS
from einfluence.curate.images.corrupt import FAMILIES
from einfluence.curate.sources import SOURCES
from einfluence.spec import Facts, Part, Spec

DOCS = (Path(__file__).parents[2] / "docs" / "curation.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path: Path) -> None:
    for name, text in re.findall(r'```\w+ title="(\S+)"\n(.*?)```', DOCS, re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "images").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.npy").write_bytes(_npy())
    texts = Part(base="x", samples="samples.jsonl", probes="probes.jsonl", relations="relations.csv")
    images, facts = Part(base="x", samples="images.jsonl"), Part(base="x", facts=Facts(file="facts.yaml"))
    made = [curate(part, Spec(parts=(part,), folder=tmp_path)) for part in (texts, images, facts)]
    assert [table.probes.num_rows for table in made[:2]] == [2, 2]
    assert {"entailed", "premise", "sibling", "contrapositive"} <= set(made[2].relations["kind"].to_pylist())


def _npy() -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.zeros((4, 4), np.float32))
    return buffer.getvalue()


def test_the_tables_name_every_kind_family_and_source() -> None:
    rows = set(re.findall(r"^\| `(\w+)[`:]", DOCS, re.MULTILINE))
    assert {*KINDS, *FAMILIES, *SOURCES} <= rows
