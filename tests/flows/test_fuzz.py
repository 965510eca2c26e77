"""Whatever stands in a user's files: it is taken, or refused with a message; no traceback, no changed store."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from einfluence.curate import curate
from einfluence.embedded import data_folder
from einfluence.errors import InputError
from einfluence.keys import file_digest
from einfluence.spec import load_spec
from tests.store.made_up import prepared, run

KEY = "c" * 20
SPEC = (data_folder() / "init" / "spec.yaml").read_text()
SAMPLES = (data_folder() / "init" / "samples.jsonl").read_text()
RELATIONS = (data_folder() / "init" / "relations.csv").read_text()
FACTS = """\
name: small
relations:
  is_a:
    domain: taxonomy
    subject: [pet]
    object: kind
    statement: "{subject} is a {object}"
    paraphrases: ["the kind of {subject} is {object}"]
    negation: "{subject} is not a {object}"
    reversed: "a known {object} is {subject}"
entities:
  pet: [dax, wug, blick]
  kind: [bird, fish]
triplets:
  - [wug, is_a, fish]
probes:
  - [dax, is_a, bird]
  - [blick, is_a, fish]
"""
FEW = {"max_examples": 75, "deadline": None, "phases": [Phase.generate, Phase.shrink]}
MANY = {**FEW, "max_examples": 2600}
FUZZ = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(3000)])]

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", "../../../etc/passwd", "/dev/null", "\x00", "a" * 5000, "1e999", "nan", "{subject}", "👩‍🔬", "\u202e"]
    ),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A file with some of its text deleted, doubled, moved or overwritten."""
    for _ in range(draw(st.integers(1, 4))):
        a, b = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        b = min(b, a + 40)
        new = draw(
            st.one_of(
                st.just(""),
                st.text(max_size=8),
                st.just(text[a:b] * 2),
                st.sampled_from(list("{}[]:,\"'#&*!|>%@`\n\t\r\x00-")),
            )
        )
        text = text[:a] + new + text[b:]
    return text


@st.composite
def twisted(draw: st.DrawFn, value: Any) -> Any:
    """A document with some of its values, keys or items replaced, dropped or doubled."""
    if draw(st.integers(0, 9)) == 0:
        return draw(odd)
    if isinstance(value, dict):
        made = {key: draw(twisted(item)) for key, item in value.items() if draw(st.integers(0, 19))}
        return {**made, **({draw(st.text(max_size=6)): draw(odd)} if draw(st.integers(0, 9)) == 0 else {})}
    if isinstance(value, list):
        return [draw(twisted(item)) for item in value for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 1, 2])))]
    return value


def _spec(folder: Path, part: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(f"base: embedded:world\n{part}\n")
    return path


def _taken_or_refused(spec: Path) -> None:
    try:
        loaded = load_spec(spec)
        for part in loaded.parts:
            if part.images is None and part.source is None:
                curate(part, loaded)
    except InputError as error:
        assert error.where.strip() and error.found.strip() and error.expected.strip()
        assert "\n" not in error.where
        assert [char for char in str(error) if unicodedata.category(char) == "Cc" and char not in "\t\n"] == []


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """A folder beside a filled store that must not change."""
    run(prepared(tmp_path / "store"), KEY)
    before = {path: file_digest(path) for path in (tmp_path / "store").rglob("*") if path.is_file()}
    folder = tmp_path / "input"
    folder.mkdir()
    _write(folder / "samples.jsonl", SAMPLES)
    _write(folder / "relations.csv", RELATIONS)
    yield folder
    assert {path: file_digest(path) for path in (tmp_path / "store").rglob("*") if path.is_file()} == before


def test_the_files_are_taken_before_they_are_harmed(watched: Path) -> None:
    _write(watched / "facts.yaml", FACTS)
    _write(watched / "spec.yaml", SPEC)
    for spec in (watched / "spec.yaml", _spec(watched, "facts: {file: facts.yaml}")):
        loaded = load_spec(spec)
        assert curate(loaded.parts[0], loaded).relations.num_rows > 2


@pytest.mark.parametrize("amount", FUZZ)
def test_spec_files(watched: Path, amount: dict[str, Any]) -> None:
    plain = yaml.safe_load(SPEC)

    @settings(**amount, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(SPEC), twisted(plain).map(lambda value: yaml.safe_dump(value, allow_unicode=True))))
    def fuzz(text: str) -> None:
        _write(watched / "spec.yaml", text)
        _taken_or_refused(watched / "spec.yaml")

    fuzz()


@pytest.mark.parametrize("amount", FUZZ)
def test_samples_files(watched: Path, amount: dict[str, Any]) -> None:
    plain = [json.loads(line) for line in SAMPLES.splitlines() if line]
    spec = _spec(watched, "samples: samples.jsonl")

    @settings(**amount, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(SAMPLES), twisted(plain).map(_lines)))
    def fuzz(text: str) -> None:
        _write(watched / "samples.jsonl", text)
        _taken_or_refused(spec)

    fuzz()


@pytest.mark.parametrize("amount", FUZZ)
def test_relations_files(watched: Path, amount: dict[str, Any]) -> None:
    spec = _spec(watched, "samples: samples.jsonl\nrelations: relations.csv")

    @settings(**amount, suppress_health_check=list(HealthCheck))
    @given(damaged(RELATIONS))
    def fuzz(text: str) -> None:
        _write(watched / "relations.csv", text)
        _taken_or_refused(spec)

    fuzz()


@pytest.mark.parametrize("amount", FUZZ)
def test_facts_files(watched: Path, amount: dict[str, Any]) -> None:
    plain = yaml.safe_load(FACTS)
    spec = _spec(watched, "facts: {file: facts.yaml}")

    @settings(**amount, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(FACTS), twisted(plain).map(lambda value: yaml.safe_dump(value, allow_unicode=True))))
    def fuzz(text: str) -> None:
        _write(watched / "facts.yaml", text)
        _taken_or_refused(spec)

    fuzz()


def _lines(value: Any) -> str:
    rows = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(row) for row in rows)
