"""The user's own files: what is read, and one clear message with file and line for everything that is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from einfluence.curate import curate
from einfluence.errors import InputError
from einfluence.samples import Curated
from einfluence.spec import Facts, Part, Spec

from .sources import each

TEXTS = [
    {"id": "a", "prompt": "dax is a", "target": "bird", "group": "animals"},
    {"id": "b", "prompt": "wug is a", "target": "fish"},
    {"id": "c", "prompt": "", "target": "rain falls"},
]


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path.name


def read(folder: Path, **more: Any) -> Curated:
    options = {key: more.pop(key) for key in ("n_classes", "shape") if key in more}
    part = Part(base="x", samples=more.pop("samples", "samples.jsonl"), **more)
    return curate(part, Spec(parts=(part,), folder=folder), **options)


def test_every_sample_is_a_probe_and_a_query_by_default(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    made = read(tmp_path)
    assert made.samples["prompt"].to_pylist() == ["dax is a", "wug is a", ""]
    assert made.samples["domain"].to_pylist() == ["animals", "", ""]
    assert made.probes["name"].to_pylist() == ["a", "b", "c"]
    assert made.relations.num_rows == 9
    assert made.relations["kind"].to_pylist().count("self") == 3


def test_jsonl_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    csv = 'id,prompt,target,group\na,dax is a,bird,animals\nb,wug is a,fish,\nc,,"rain falls",\n'
    (tmp_path / "samples.csv").write_text(csv)
    pq.write_table(pa.Table.from_pylist(TEXTS), tmp_path / "samples.parquet")
    made = [read(tmp_path, samples=f"samples.{ending}") for ending in ("jsonl", "csv", "parquet")]
    for other in made[1:]:
        assert other.samples.drop_columns("source").equals(made[0].samples.drop_columns("source"))
        assert other.relations.equals(made[0].relations)


def test_order_of_lines_and_name_of_the_file_change_no_id(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    lines(tmp_path / "renamed.jsonl", TEXTS[::-1])
    one, two = read(tmp_path), read(tmp_path, samples="renamed.jsonl")
    assert set(one.probes["probe_id"].to_pylist()) == set(two.probes["probe_id"].to_pylist())
    pairs = [
        set(zip(made.relations["probe_id"].to_pylist(), made.relations["query_id"].to_pylist(), strict=True))
        for made in (one, two)
    ]
    assert pairs[0] == pairs[1]


def test_probes_queries_and_relations(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    lines(tmp_path / "probes.jsonl", [{"id": "p", "samples": ["a"]}, {"id": "both", "samples": ["a", "b"]}])
    lines(tmp_path / "queries.txt", ["b", "c"])
    (tmp_path / "relations.csv").write_text("probe,query,kind,level,distance\np,b,sibling,,0.5\nboth,c,entailed,2,\n")
    made = read(tmp_path, probes="probes.jsonl", queries="queries.txt", relations="relations.csv")
    assert made.probes["kind"].to_pylist() == ["sample", "bundle"]
    rows = {(row["kind"], row["level"], row["distance"]) for row in made.relations.to_pylist()}
    assert rows == {("sibling", None, 0.5), (None, None, None), ("self", None, None), ("entailed", 2.0, None)}
    assert made.relations.num_rows == 4
    assert set(made.distances["measure"].to_pylist()) == {"lexical"}


def test_probes_in_a_csv(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    (tmp_path / "probes.csv").write_text('id,samples\np,a;b\nq,"[""c""]"\n')
    assert read(tmp_path, probes="probes.csv").probe_members.num_rows == 3


def test_equal_content_under_two_ids_is_one_sample_and_is_counted(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", [*TEXTS, {**TEXTS[0], "id": "again"}])
    made = read(tmp_path)
    assert made.samples.num_rows == 3
    assert made.report.to_pylist()[0]["count"] == 1


TEXT_FAULTS: list[tuple[list[Any], str]] = [
    ([TEXTS[0], {**TEXTS[1], "id": "a"}], r"samples.jsonl:2: found the id 'a' again \(first at .*samples.jsonl:1\)"),
    ([TEXTS[0], "{not json"], r"samples.jsonl:2: found a line that is no JSON"),
    (["[1]"], r"samples.jsonl item 0: found int; expected an object"),
    ([TEXTS[0], "[1]"], r"samples.jsonl:2: found a JSON list"),
    ([{"id": "a", "prompt": "x", "target": " "}], r"samples.jsonl:1 target: found an empty target"),
    ([{"id": "a", "prompt": "x"}], r"samples.jsonl:1: found no known shape in `id` and `prompt`"),
    ([TEXTS[0], {"id": "b", "prompt": "x"}], r"samples.jsonl:2: found no `target`; expected `target`, as in the first"),
    ([{"id": "a", "prompt": 3, "target": "y"}], r"samples.jsonl:1 prompt: found 3; expected text"),
    ([{"id": "", "prompt": "x", "target": "y"}], r"samples.jsonl:1 id: found ''"),
    ([{**TEXTS[0], "tagret": "y"}], r"samples.jsonl:1: found the unknown column `tagret`"),
    ([TEXTS[0], {**TEXTS[1], "image": "a.png"}], r"samples.jsonl:2: found the unknown column `image`"),
    ([{**TEXTS[0], "image": "a.png"}], r"samples.jsonl:1: found both `image` and text"),
    ([], r"samples.jsonl: found no rows"),
]


@pytest.mark.parametrize(("rows", "fault"), TEXT_FAULTS)
def test_faults_of_text_samples(rows: list[Any], fault: str, tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", rows)
    with pytest.raises(InputError, match=fault):
        read(tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, content, fault in [
        ("absent.jsonl", None, "absent.jsonl: found no such file"),
        ("samples.xls", b"", "the ending '.xls'"),
        (
            "latin.jsonl",
            '{"id": "a", "target": "é"}'.encode("latin-1"),
            "latin.jsonl:1: found bytes that are not UTF-8",
        ),
        ("broken.csv", b'id,prompt,target\na,"x,y\n', "CSV that cannot be read"),
        ("wide.csv", b"id,prompt,target\na,x,y\nb,x,y,z\n", "wide.csv:3: found 4 cells"),
        ("broken.parquet", b"PAR1", "Parquet that cannot be read"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=fault):
            read(tmp_path, samples=name)


RELATION_FAULTS = [
    ("nobody,a,,,", "found the unknown probe 'nobody'"),
    ("a,nobody,,,", "found the unknown sample 'nobody'"),
    ("a,b,cousin,,", "found 'cousin'; expected one of self, paraphrase"),
    ("a,b,,,-1", "found -1; expected a distance >= 0"),
    ("a,b,,high,", "found 'high'; expected a finite number"),
    ("a,b,,,\na,b,,,", "this pair again"),
    ("a,a,unrelated,,", "found 'unrelated' for 'a', which is a sample of the probe 'a'; expected 'self', or nothing"),
    ("a,b,self,,", "found 'self' for 'b', which is no sample of the probe 'a'; expected another kind"),
]


@pytest.mark.parametrize(("row", "fault"), RELATION_FAULTS)
def test_faults_of_relations(row: str, fault: str, tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    (tmp_path / "relations.csv").write_text(f"probe,query,kind,level,distance\n{row}\n")
    with pytest.raises(InputError, match=r"relations.csv:\d.*" + fault):
        read(tmp_path, relations="relations.csv")


PROBE_FAULTS = [
    ({"id": "p", "samples": ["nobody"]}, "unknown sample 'nobody'"),
    ({"id": "p", "samples": []}, "a list of at least one"),
    ({"id": "p", "samples": ["a", "a"]}, "a sample twice"),
    ({"id": "p", "samples": ["a", "b"], "kind": "sample"}, "'sample' of 2 samples; expected 'bundle' or 'sequence'"),
    ({"id": "p", "samples": ["a"], "kind": "odd"}, "one of sample, bundle, sequence, noisy, control"),
]


@pytest.mark.parametrize(("row", "fault"), PROBE_FAULTS)
def test_faults_of_probes(row: dict[str, Any], fault: str, tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    lines(tmp_path / "probes.jsonl", [row])
    with pytest.raises(InputError, match=r"probes.jsonl:1.*" + fault):
        read(tmp_path, probes="probes.jsonl")


def test_a_level_or_a_distance_leaves_a_probe_its_own_sample(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    lines(tmp_path / "relations.jsonl", [{"probe": "a", "query": "a", "level": 1, "distance": 0}])
    rows = read(tmp_path, relations="relations.jsonl").relations.to_pylist()
    assert ("self", 1.0) in {(row["kind"], row["level"]) for row in rows}


def test_probes_of_the_same_samples_are_counted(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    lines(tmp_path / "probes.jsonl", [{"id": "p", "samples": ["a"]}, {"id": "q", "samples": ["a"]}])
    made = read(tmp_path, probes="probes.jsonl")
    row = next(row for row in made.report.to_pylist() if row["gate"] == "probes of equal samples")
    assert (row["count"], row["example"].rpartition(":")[2]) == (1, "2 q = p")


def test_unknown_query(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    lines(tmp_path / "queries.txt", ["a", "nobody"])
    with pytest.raises(InputError, match="queries.txt:2: found the unknown sample 'nobody'"):
        read(tmp_path, queries="queries.txt")
    (tmp_path / "queries.txt").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(InputError, match="queries.txt: found a gzip file"):
        read(tmp_path, queries="queries.txt")


def picture(path: Path, size: tuple[int, int] = (4, 4), mode: str = "L") -> str:
    Image.new(mode, size, 128 if mode == "L" else (255, 0, 0)).save(path)
    return path.name


def test_images_from_files(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", np.eye(4, dtype=np.float32))
    rows = [
        {"id": 1, "image": picture(tmp_path / "a.png"), "label": 0},
        {"id": 2, "image": picture(tmp_path / "b.png", mode="RGB"), "label": 1, "group": "red"},
        {"id": 3, "image": "c.npy", "label": 1},
    ]
    lines(tmp_path / "samples.jsonl", rows)
    made = read(tmp_path, shape=(1, 4, 4), n_classes=2)
    assert made.samples["shape"].to_pylist() == [[1, 4, 4]] * 3
    assert made.samples["pixels"][0].as_py() == pytest.approx([128 / 255] * 16)
    assert made.samples["pixels"][2].as_py() == np.eye(4).ravel().tolist()
    assert made.samples["domain"].to_pylist() == ["0", "red", "1"]
    assert made.relations["distance"].to_pylist()[0] == 0  # pixel distance


def test_faults_of_images(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "wide.png", size=(5, 4))
    (tmp_path / "broken.png").write_bytes(b"not an image")
    np.save(tmp_path / "loud.npy", np.full((4, 4), 3.0))
    for row, fault in [
        ({"image": "wide.png", "label": 0}, r"an image of 1 x 4 x 5 .*expected 1 x 4 x 4"),
        ({"image": "broken.png", "label": 0}, "an image that cannot be read"),
        ({"image": "absent.png", "label": 0}, "no readable image"),
        ({"image": "loud.npy", "label": 0}, "values from 3 to 3"),
        ({"image": "a.png", "label": 10}, "the label 10; expected a class from 0 to 9"),
        ({"image": "a.png", "label": -1}, "the label -1"),
        (
            {"image": "a.png", "label": "cat"},
            "found the label 'cat'; expected a whole number, as the base does not name",
        ),
        ({"image": "a.png"}, "no `label`"),
    ]:
        lines(tmp_path / "samples.jsonl", [{"id": "first", "image": "a.png", "label": 0}, {"id": "x", **row}])
        with pytest.raises(InputError, match=rf"samples.jsonl:2.*{fault}"):
            read(tmp_path, n_classes=10)


def test_texts_that_do_not_fit_the_base(tmp_path: Path) -> None:
    lines(tmp_path / "samples.jsonl", TEXTS)
    part = Part(base="x", samples="samples.jsonl")
    spec = Spec(parts=(part,), folder=tmp_path)
    with pytest.raises(InputError, match="samples.jsonl:1: found a text of 5 tokens"):
        curate(part, spec, tokenize=each(str.split), max_tokens=4)
    with pytest.raises(InputError, match="which tokenizes to nothing"):
        curate(part, spec, tokenize=each(lambda text: []), max_tokens=4)


def test_what_stands_between_prompt_and_target_can_be_said_for_a_row_and_for_all(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "np.", "target": "array", "join": ""},
        {"id": "b", "prompt": "np.", "target": "array"},
        {"id": "c", "prompt": "x", "target": "y", "join": "\n"},
        {"id": "d", "prompt": "", "target": "z"},
    ]
    lines(tmp_path / "samples.jsonl", rows)
    plain, verbatim = read(tmp_path), read(tmp_path, join="")
    assert plain.samples["gap"].to_pylist() == ["", " ", "\n", ""]
    assert verbatim.samples["gap"].to_pylist() == ["", "\n", ""]  # a and b are one text now
    assert plain.samples["prompt"].to_pylist() == ["np.", "np.", "x", ""]
    assert len({*plain.samples["sample_id"].to_pylist()}) == 4
    lines(tmp_path / "samples.jsonl", [{**rows[0], "join": 1}])
    with pytest.raises(InputError, match=r"samples.jsonl:1 join: found 1; expected text"):
        read(tmp_path)


def test_a_template_of_facts_says_itself_whether_there_is_a_blank(tmp_path: Path) -> None:
    facts = """
    relations:
      river: {domain: d, statement: "{subject}的首都是{object}", paraphrases: "{subject} is at {object}"}
    probes: [[洛德, river, 维安], [佩恩, river, 米尔纳]]
    """
    (tmp_path / "facts.yaml").write_text(facts, encoding="utf-8")
    part = Part(base="x", facts=Facts(file="facts.yaml"))
    made = curate(part, Spec(parts=(part,), folder=tmp_path)).samples.to_pylist()
    assert {row["prompt"] + row["gap"] + row["target"] for row in made} >= {"洛德的首都是维安", "洛德 is at 维安"}
    part = Part(base="x", facts=Facts(file="facts.yaml"), join=":")
    made = curate(part, Spec(parts=(part,), folder=tmp_path)).samples.to_pylist()
    assert "洛德的首都是:维安" in {row["prompt"] + row["gap"] + row["target"] for row in made}
