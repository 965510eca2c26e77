"""YAML that users write: what is read, and what is refused with its line rather than guessed at."""

from __future__ import annotations

from pathlib import Path

import pytest

from einfluence.errors import InputError
from einfluence.yamlfile import read


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E+2", 100.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("010", 10),
        ("+7", 7),
        ("0x1f", 31),
        ("0o17", 15),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("On", "On"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("1e", "1e"),
        ("-", [None]),
        (".inf", float("inf")),
        ("=", "="),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(tmp_path: Path, text: str, value: object) -> None:
    found = read(written(tmp_path, f"a:\n  {text}\n"), "file").values["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: found the key `a` on line 1 and on line 3; expected each key once"),
        ("a:\n  b: {c: 1, d: 2, 'c': 3}\n", "x.yaml:2: found the key `c` twice on this line"),
        ("a: &a\n  b: *a\n", "x.yaml:1: found an anchor (&) that contains itself"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2: found a second document"),
        ("", "x.yaml:1: found nothing; expected a file"),
        ("# only a comment\n", "x.yaml:1: found nothing; expected a file"),
        ("- a\n", "x.yaml:1: found a list; expected a file: a mapping of keys"),
        ("only words\n", "x.yaml:1: found 'only words'"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: found YAML that cannot be read (found a tab"),
        ("a: 1\n\tb: 2\n", "Indent with blanks"),
        (b"a: 1\nb: caf\xe9\n", "x.yaml:2: found a byte that is not UTF-8 (0xe9); expected UTF-8"),
        ("a: 1\nb: 2".encode("utf-16"), "x.yaml:1: found a byte that is not UTF-8"),
        ("a: 1\nb: \x00\n", "x.yaml:2: found YAML that cannot be read (control characters"),
        ("a: &x 1\nb: &x 2\n", "x.yaml:2: found YAML that cannot be read (found duplicate anchor"),
        ("a: !!int ten\n", "x.yaml:1: found YAML that cannot be read (no integer: 'ten')"),
        ("a: 1\nb: " + "9" * 5000, "x.yaml:2: found YAML that cannot be read (no integer"),
        ("a: !!python/object:os.system x\n", "x.yaml:1: found YAML that cannot be read"),
        ("a: " + "[" * 100_000, "x.yaml:1: found more lists and mappings inside each other"),
        ("a: " + "- " * 50_000, "x.yaml:1"),
        (
            "a0: &a0 [x, x]\n" + "\n".join(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 10}]" for i in range(1, 9)),
            "at most 64 of them, and 10,000,000 values in all",
        ),
    ],
)
def test_what_could_only_be_guessed_at_is_refused(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(InputError) as error:
        read(written(tmp_path, text), "file")
    assert says in str(error.value)


def test_merged_keys_may_be_said_again_and_are_found_where_they_stand(tmp_path: Path) -> None:
    text = "one: &one\n  a: 1\n  b: 2\ntwo:\n  <<: *one\n  a: 3\n"
    document = read(written(tmp_path, text), "file")
    assert document.values["two"] == {"a": 3, "b": 2}
    assert (document.line("two", "a"), document.line("two", "b"), document.line("one", "a")) == (6, 3, 2)


def test_a_mark_of_byte_order_is_no_text(tmp_path: Path) -> None:
    assert read(written(tmp_path, "\ufeffa: 1\n"), "file").values == {"a": 1}


@pytest.mark.parametrize("name", ["none.yaml", ".", "a\x00b"])
def test_what_is_no_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="expected a .*file"):
        read(tmp_path / name, "file")
