"""What a user can get wrong in a study: one message that says where, and nothing computed is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import einfluence
from einfluence import InputError

GOOD = '{"id": "a", "prompt": "dax is a", "target": "bird"}\n{"id": "b", "prompt": "wug is a", "target": "fish"}\n'
FAST = [{"recipe": {"lr": 0.01, "steps": 1}}]
Study = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path, gpt2_folder: Path) -> Study:
    """Writes a study of two samples; what is given replaces or adds keys of the spec."""

    def write(samples: str | None = GOOD, **spec: object) -> Path:
        (tmp_path / "samples.jsonl").write_text(samples or "")
        file = None if samples is None else "samples.jsonl"
        whole = {"base": str(gpt2_folder), "samples": file, "arms": FAST, **spec}
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps({key: value for key, value in whole.items() if value is not None}))
        return path

    return write


def refused(spec: Path) -> str:
    with pytest.raises(InputError) as error:
        einfluence.measure(spec, spec.parent / "store", report=False)
    return str(error.value).replace(f"{spec.parent}/", "")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "a", "prompt": "x", "target": "bird"}', "samples.jsonl:3: found the id 'a' again"),
        ('{"id": "c", "prompt": "x", "target": ""}', "samples.jsonl:3 target: found an empty target"),
        ('{"id": "c", "prompt": "x", "target": "bird", "foo": 1}', "samples.jsonl:3: found the unknown column `foo`"),
        ('{"id": "c", nope', "samples.jsonl:3: found a line that is no JSON"),
        (json.dumps({"id": "c", "prompt": "dax " * 40, "target": "bird"}), "samples.jsonl:3: found a text of 4"),
    ],
)
def test_a_wrong_sample_is_told_with_its_line(study: Study, line: str, says: str) -> None:
    assert refused(study(GOOD + line)).startswith(says)


@pytest.mark.parametrize(
    ("adapter", "says"),
    [
        ({"kind": "match", "pattern": "zzz"}, "matches no parameter"),
        ({"kind": "lora", "targets": ["nonsense"]}, "'nonsense', which names no module"),
        ({"kind": "lora", "layers": [77]}, "found no block 77"),
    ],
)
def test_an_adapter_that_fits_nothing_is_told(study: Study, adapter: dict[str, object], says: str) -> None:
    assert says in refused(study(arms=[{"recipe": {"adapter": adapter, "steps": 1}}]))


def test_images_for_a_text_base_are_told(study: Study) -> None:
    assert "found image data; expected text data" in refused(study(None, images="digits"))


def test_texts_for_an_image_base_are_told(study: Study) -> None:
    assert "found text data; expected image data" in refused(study(base="embedded:digits"))


def test_prompting_an_image_base_is_told(study: Study) -> None:
    images = {"probes": 10, "queries": 10}
    spec = study(None, base="embedded:digits", images=images, arms=[{"estimator": "in_context"}])
    assert "`in_context` for a base whose objective has no prompt" in refused(spec)
    assert not (spec.parent / "store").exists()  # before anything is written


def test_a_chat_without_a_template_is_told(study: Study) -> None:
    assert "no chat template" in refused(study(arms=[{"estimator": "in_context", "recipe": {"chat": True}}]))


def test_a_base_that_is_not_there_is_told(study: Study) -> None:
    assert refused(study(base="./missing")).startswith("parts.main.base: found './missing'")


def test_a_probe_too_long_to_prompt_with_fails_and_says_why(study: Study) -> None:
    long = json.dumps({"id": "c", "prompt": "dax " * 20, "target": "bird"})
    spec = study(GOOD + long, arms=[{"estimator": "in_context"}])
    result = einfluence.measure(spec, spec.parent / "store", report=False)
    assert (result.failed, result.computed) == (3, 0)
    assert all("at most 24" in reason for reason in result.reasons.values())


def test_what_was_computed_before_a_fault_is_kept(study: Study) -> None:
    spec = study()
    assert einfluence.measure(spec, spec.parent / "store", report=False).computed == 4
    refused(study(GOOD + "{"))
    result = einfluence.measure(study(), spec.parent / "store", report=False)
    assert (result.present, result.computed) == (4, 0)


def test_a_store_that_is_a_file_is_told(study: Study, tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    assert "which is a file" in refused(study())
    assert (tmp_path / "store").read_text() == "mine"
