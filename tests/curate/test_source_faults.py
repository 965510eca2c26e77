"""Items that are not as published: one clear message or a count, whatever stands where a text was expected."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from einfluence.errors import InputError

from .sources import read

DATA = Path(__file__).parent / "data"
FILES = {
    "counterfact": ["counterfact/easyedit.json", "counterfact/rome.json"],
    "knowedit": ["knowedit.json"],
    "zsre": ["zsre.json"],
    "rippleedits": ["rippleedits.json"],
    "mquake": ["mquake.json"],
    "leap_of_thought": ["leap_of_thought.jsonl"],
    "prontoqa": ["prontoqa.jsonl", "prontoqa_authors.json"],
    "proofwriter": ["proofwriter.jsonl", "proofwriter_authors.jsonl"],
    "entailmentbank": ["entailmentbank.jsonl"],
    "lre": ["lre/town_river.json"],
    "lama": ["lama/TREx/P1.jsonl"],
    "pararel": ["pararel/patterns.jsonl", "pararel/tuples.jsonl"],
    "country_json": ["country/src/country-by-continent.json"],
    "reversal": ["reversal/p2d_prompts_train.jsonl", "reversal/d2p_reverse_prompts_test.jsonl"],
}
VALUES = [
    None,
    "",
    " ",
    ".",
    0,
    -1,
    10**30,
    1e300,
    True,
    [],
    [[]],
    [None],
    [""],
    [7],
    {},
    {"": None},
    "{}",
    "\\1",
    "[X]",
    "И ц",
]
Path_ = list[Any]


def places(value: Any, path: Path_) -> Iterator[Path_]:
    """The path of everything in an item."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, [*path, key])


def mutated(content: Any, draw: random.Random) -> Any:
    """The content with something exchanged, left out, doubled or renamed."""
    made = copy.deepcopy(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        path = draw.choice([path for path in places(made, []) if path] or [[]])
        if not path:
            return made
        holder = made
        for key in path[:-1]:
            holder = holder[key]
        change = draw.choice(["value", "value", "value", "out", "wrap", "rename"])
        if change == "value":
            holder[path[-1]] = copy.deepcopy(draw.choice(VALUES))
        elif change == "wrap":
            holder[path[-1]] = draw.choice([[holder[path[-1]]], {"str": holder[path[-1]]}])
        else:
            kept = holder.pop(path[-1])
            if change == "rename" and isinstance(holder, dict):
                holder[draw.choice(["prompt", "label", "x", ""])] = kept
    return made


@pytest.mark.parametrize("name", FILES)
def test_items_of_another_form_never_end_in_a_traceback(name: str, tmp_path: Path) -> None:
    draw = random.Random(name)
    for number in range(40):
        file = DATA / draw.choice(FILES[name])
        text = file.read_text(encoding="utf-8")
        lines = file.suffix == ".jsonl"
        content = mutated([json.loads(line) for line in text.splitlines()] if lines else json.loads(text), draw)
        listed = content if isinstance(content, list) else [content]
        written = "\n".join(map(json.dumps, listed)) if lines else json.dumps(content)
        made = attempt(name, file, written, tmp_path / f"{number}")
        assert made is None or made.probes.num_rows > 0


def attempt(name: str, file: Path, written: str, folder: Path) -> Any:
    """What curation makes of the data set with one file exchanged; None where it is refused."""
    root = DATA / file.relative_to(DATA).parts[0]
    folder.mkdir()
    place = folder / file.relative_to(root) if root.is_dir() else folder / file.name
    for other in root.rglob("*.json*") if root.is_dir() and name in ("pararel", "lama", "reversal") else []:
        (folder / other.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        (folder / other.relative_to(root)).write_bytes(other.read_bytes())
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(written, encoding="utf-8")
    try:
        return read(name, folder)
    except InputError as error:
        assert error.where and error.found and error.expected
        return None
