"""A user's file again without some rows: every byte of the others stays; what cannot be written again is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from einfluence.curate.records import check_ending
from einfluence.curate.rows.without import check_writable, number_of, write_without
from einfluence.errors import InputError

TEXTS = {
    "lines.jsonl": ('{"id":  "a"}\r\n\n{"id": "ü"}\n', '{"id": "c", "x": 1e3}'),
    "marked.jsonl": ('\ufeff{"id": "a"}\n{"id": "b"}\n', '{"id": "c"}\n'),
    "rows.csv": ('sep=;\nid;text\na;"two\nlines"\n\nb;"a ""quoted"" one"\n', "c;last"),
    "rows.tsv": ("id\ttext\na\tb\r\nb\tc\r\n", "c\td\r\n"),
    "list.json": ('[\n  {"id": "a",\n   "x": [1, 2]} ,\n  {"id": "b"},  ', '{"id": "c"}\n]\n'),
    "lines.json": ('{"id": "a"}\n{"id": "b"}\n', '{"id": "c"}\n'),
}


@pytest.mark.parametrize("name", TEXTS)
def test_rows_that_stay_keep_every_byte(name: str, tmp_path: Path) -> None:
    path, out = tmp_path / name, tmp_path / f"kept-{name}"
    path.write_bytes("".join(TEXTS[name]).encode())
    reader = check_ending(path)
    rows = list(reader(path))
    for removed in range(3):
        gone = {number_of(rows[removed][0])}
        assert write_without(path, gone, out) == 2
        assert [row for _, row in reader(out)] == [row for place, (_, row) in enumerate(rows) if place != removed]
    text = out.read_bytes().decode()  # without the last: what was before it, as it was
    assert text == TEXTS[name][0] or text == TEXTS[name][0].rstrip().rstrip(",") + "\n]\n"
    assert write_without(path, set(), out) == 3
    assert out.read_bytes() == path.read_bytes()


def test_a_mark_at_the_beginning_stays_when_the_first_row_goes(tmp_path: Path) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    path.write_bytes("".join(TEXTS["marked.jsonl"]).encode())
    write_without(path, {1}, out)
    assert out.read_bytes() == '\ufeff{"id": "b"}\n{"id": "c"}\n'.encode()


def test_parquet_keeps_its_columns_types_and_what_it_says_of_itself(tmp_path: Path) -> None:
    path, out = tmp_path / "a.parquet", tmp_path / "b.parquet"
    table = pa.table({"id": ["a", "b", "c"], "n": pa.array([1, None, 3], pa.int8())}).replace_schema_metadata(
        {"by": "hand"}
    )
    pq.write_table(table, path, compression="zstd", row_group_size=2)
    rows = list(check_ending(path)(path))
    assert write_without(path, {number_of(rows[1][0])}, out) == 2
    assert pq.read_table(out).equals(table.take([0, 2]), check_metadata=True)
    assert pq.ParquetFile(out).metadata.row_group(0).column(0).compression == "ZSTD"


def test_what_cannot_be_written_again_is_refused_by_name(tmp_path: Path) -> None:
    wrapped, list_of = tmp_path / "wrapped.json", tmp_path / "list.json"
    wrapped.write_text(json.dumps({"data": [{"id": "a"}, {"id": "b"}]}))
    with pytest.raises(InputError, match="objects or lists around the rows"):
        write_without(wrapped, {0}, tmp_path / "out.json")
    list_of.write_text('[{"id": "a"}]')
    with pytest.raises(InputError, match="ends in .json"):
        check_writable(list_of, tmp_path / "out.jsonl")
    with pytest.raises(InputError, match="which is there already"):
        check_writable(list_of, list_of)
    with pytest.raises(InputError, match="a folder"):
        check_writable(tmp_path, tmp_path / "out.json")
    with pytest.raises(InputError, match="a row of a file"):
        number_of("digits")
    with pytest.raises(InputError, match="a file that can be written"):
        write_without(list_of, set(), tmp_path / "nowhere" / "out.json")
    (tmp_path / "wide.jsonl").write_bytes('{"id": "a"}\n'.encode("utf-16"))
    with pytest.raises(InputError, match="another encoding than UTF-8"):
        write_without(tmp_path / "wide.jsonl", set(), tmp_path / "out.jsonl")
