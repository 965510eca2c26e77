from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einfluence.keys import content_hash, file_digest

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def tagged(value: object) -> object:
    """A value with its types spelled out: what the hash must tell apart, by another road."""
    if isinstance(value, list | tuple):
        return ("list", tuple(tagged(item) for item in value))
    if isinstance(value, dict):
        return ("map", tuple(sorted((key, repr(tagged(item))) for key, item in value.items())))
    return (type(value).__name__, repr(value))


@given(plain, plain)
def test_equal_hashes_mean_equal_values_of_equal_types(a: object, b: object) -> None:
    assert (content_hash(a) == content_hash(b)) == (tagged(a) == tagged(b))


def test_one_is_not_true_is_not_one_point_zero_is_not_a_string() -> None:
    assert len({content_hash(value) for value in (1, 1.0, True, "1", b"1", [1], {"1": 1})}) == 7


def test_the_order_of_a_mapping_does_not_count_and_that_of_a_list_does() -> None:
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert content_hash([1, 2]) != content_hash([2, 1])


def test_neighbouring_values_cannot_run_together() -> None:
    assert content_hash(["ab", "c"]) != content_hash(["a", "bc"])
    assert content_hash([["a"], "b"]) != content_hash([["a", "b"]])


def test_arrays_hash_by_dtype_shape_and_numbers_not_by_memory_layout() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert content_hash(array) == content_hash(np.asfortranarray(array)) == content_hash(array.astype(">f4"))
    assert content_hash(array) != content_hash(array.reshape(3, 2))
    assert content_hash(array) != content_hash(array.astype(np.float64))


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, np.array(["a"]), Path("a"), {1: 2}])
def test_what_it_does_not_know_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot hash"):
        content_hash(value)


def test_the_hash_is_the_same_in_every_process_and_version() -> None:
    assert content_hash(("probe", ("a", 1, 0.5, None, True))) == "f34cfe9239a59849c52d"


def test_a_files_digest_covers_its_bytes_and_not_its_name(tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).write_text(text)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")
