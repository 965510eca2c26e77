"""Files that were made for another tool: which format it is, and which of its fields becomes which of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from einfluence.errors import InputError

CHAT = (
    "make a row of each answer: the turns before it as `prompt`, as the model's chat template writes them "
    "(`tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)`), the answer as `target`, "
    '`"join": ""`'
)


class Format(NamedTuple):
    """A format that is known by its fields."""

    fields: tuple[str, ...]
    name: str
    fix: str


FORMATS = (
    Format(("messages",), "chats (`messages` of role and content)", CHAT),
    Format(("conversations",), "chats as ShareGPT has them (`conversations` of from and value)", CHAT),
    Format(("conversation",), "chats", CHAT),
    Format(
        ("chosen", "rejected"),
        "preferences (DPO)",
        "make two rows of each, with `chosen` and with `rejected` as `target` behind the same `prompt`",
    ),
    Format(("prompt", "completion"), "prompts and completions (TRL)", "rename `completion` to `target`"),
    Format(
        ("instruction", "output"),
        "instructions (Alpaca)",
        "write `instruction`, with `input` below it where there is one, as `prompt`, and `output` as `target`",
    ),
    Format(
        ("instruction", "response"),
        "instructions (Dolly)",
        "write `instruction`, with `context` before it where there is one, as `prompt`, and `response` as `target`",
    ),
    Format(
        ("question", "choices"),
        "questions with choices",
        "write `question` as `prompt` and the words of the right choice as `target`",
    ),
    Format(("question", "answer"), "questions and answers", "rename `question` to `prompt` and `answer` to `target`"),
    Format(
        ("question", "answers"),
        "questions with several answers (SQuAD)",
        "write `context`, where there is one, and `question` as `prompt`, and one of the `answers` as `target`",
    ),
    Format(("query", "response"), "queries and responses", "rename `query` to `prompt` and `response` to `target`"),
    Format(("prompt", "response"), "prompts and responses", "rename `response` to `target`"),
    Format(("prompt", "answer"), "prompts and answers", "rename `answer` to `target`"),
    Format(("inputs", "targets"), "inputs and targets", "rename `inputs` to `prompt` and `targets` to `target`"),
    Format(("input", "target"), "inputs and targets", "rename `input` to `prompt`"),
    Format(("input", "output"), "inputs and outputs", "rename `input` to `prompt` and `output` to `target`"),
    Format(("source", "target"), "sources and targets", "rename `source` to `prompt`"),
    Format(
        ("translation",), "translations", "write one language as `prompt` and the other as `target`, both as plain text"
    ),
    Format(
        ("text", "label"), "texts and their classes", "rename `text` to `prompt` and write the class's word as `target`"
    ),
    Format(
        ("sentence", "label"),
        "sentences and their classes",
        "rename `sentence` to `prompt` and write the class's word as `target`",
    ),
    Format(
        ("image", "text"), "images with texts", "write rows of {id, image, label}: only classes of images are measured"
    ),
    Format(
        ("subject", "relation", "object"),
        "triplets",
        "write `source: {name: triplets, path: FILE}` into the spec instead of `samples: FILE`",
    ),
    Format(
        ("requested_rewrite",),
        "edits of facts",
        "write `source: {name: counterfact, path: FILE}`, or `name: mquake`, into the spec instead of `samples: FILE`",
    ),
    Format(("text",), "whole texts (`text`)", "rename `text` to `target`; `prompt` may be left out"),
)

_MEANT = {
    "id": ("idx", "index", "_id", "uid", "uuid", "guid", "key", "sample_id", "example_id", "question_id", "qid"),
    "prompt": ("question", "query", "instruction", "input", "inputs", "source", "context", "user", "human", "premise"),
    "target": (
        "completion", "answer", "response", "output", "outputs", "targets", "solution", "assistant", "label_text",
        "document", "content", "sentence", "text", "chosen", "summary",
    ),
    "group": ("category", "domain", "topic", "subset", "task", "type", "class"),
    "image": ("img", "file_name", "filename", "path", "image_path"),
}  # fmt: skip


def misfit(
    where: str, present: Iterable[str], unknown: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> InputError:
    """What to say of a row whose fields are not ours: everything at once.

    Args:
        where: File and line.
        present: The row's fields.
        unknown: Fields of the whole file that are not known.
        required: Fields that a row must have.
        optional: Fields that it may have besides.
    """
    present = list(present)
    missing = [key for key in required if key not in present]
    samples = "target" in optional
    if samples and not {"id", "file_name"} & {*present, *missing}:
        missing.append("id")
    seen = _format(present) if samples else None
    found = [f"no {_listed(missing)}"] if missing else []
    if unknown:
        found.append(f"the unknown field{'s' if len(unknown) > 1 else ''} {_listed(unknown)}")
    told = f"{seen.name}: {' and '.join(found)}" if seen else " and ".join(found)
    advice = [seen.fix] if seen else []
    expected = f"fields among {', '.join((*required, *optional))}"
    if samples:
        expected = "rows of {id, prompt, target} or {id, image, label}, besides which group, cluster, template, join "
        expected += "may stand"
    texts = {"prompt", "target"} & set(present)
    free = [
        key
        for key in dict.fromkeys((*required, *optional))
        if key not in present and not (texts and key in ("image", "label"))
    ]
    taken = set(seen.fields if seen else ())
    for key in unknown:
        meant = _meant(key, free, guess=samples and (seen is None or key not in taken))
        if meant is not None and key not in taken and not (seen and meant in ("prompt", "target")):
            advice.append(f"rename `{key}` to `{meant}`")
            free.remove(meant)
            taken.add(key)
    if "id" in missing and "id" in free:
        advice.append("give each row an `id` of its own, such as its number")
    rest = [key for key in unknown if key not in taken]
    if rest and not seen:
        advice.append(f"leave out {_listed(rest)}")
    elif rest:
        advice.append(f"leave out what is left ({_listed(rest)})")
    fix = "; ".join(advice)
    return InputError(where, told, expected, fix[:1].upper() + fix[1:])


def turns_in(value: object) -> bool:
    """Whether a field's value is a chat: a list of turns."""
    return isinstance(value, list) and any(
        isinstance(turn, dict) and {"role", "from"} & set(map(str, turn)) for turn in value
    )


def _format(present: Sequence[str]) -> Format | None:
    return next((one for one in FORMATS if set(one.fields) <= set(present)), None)


def _meant(key: str, free: Sequence[str], *, guess: bool) -> str | None:
    """Which of our fields a foreign one may be: by its capitals, a slip of the pen, or what others call it."""
    plain = key.strip().strip("\ufeff\"'").lower()
    if plain in free:
        return plain
    near = difflib.get_close_matches(plain, free, 1, 0.8)
    if near:
        return near[0]
    return next((ours for ours, names in _MEANT.items() if guess and ours in free and plain in names), None)


def _listed(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
