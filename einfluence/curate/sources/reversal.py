"""The reversal curse: a name and a description, stated one way and queried the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from einfluence.curate.builder import Gates
from einfluence.curate.sources.cases import UNREADABLE, Case, Claim, Text, Trial
from einfluence.curate.sources.rows import Place, rows, text
from einfluence.errors import InputError


def reversal(path: Place, gates: Gates) -> Iterator[Case]:
    """Pairs of parents and children (CSV with child, parent, parent_type), or the experiments' folder.

    In the folder, ``p2d_prompts_*.jsonl`` and ``d2p_prompts_*.jsonl`` hold {prompt, completion}; the first wording of
    a pair is the probe, further ones are ``paraphrase``, the pair's lines in ``*_reverse_prompts_*`` are ``reversed``.
    """
    if isinstance(path, Path) and path.is_dir():
        yield from _experiments(path, gates)
        return
    for where, row in rows(path):
        child, parent, kind = (text(where, row, key) for key in ("child", "parent", "parent_type"))
        back = Claim(Text(f"The name of a child of {parent} is", child), "reversed")
        yield Case(
            key=f"{child}/{kind}/{parent}",
            where=where,
            domain=kind,
            trials=(Trial((Text(f"The name of the {kind} of {child} is", parent),), (back,)),),
            cluster=child,
            marks=(f"name:{child}", f"name:{parent}"),
        )


def _experiments(path: Path, gates: Gates) -> Iterator[Case]:
    gates.open(UNREADABLE)
    found = False
    for way in ("p2d", "d2p"):
        forward = [item for file in sorted(path.glob(f"{way}_prompts_*.jsonl")) for item in rows(file)]
        backward = [item for file in sorted(path.glob(f"{way}_reverse_prompts_*.jsonl")) for item in rows(file)]
        turned = [(text(place, row, "prompt"), text(place, row, "completion").strip()) for place, row in backward]
        pairs: dict[str, list[tuple[str, Text]]] = {}
        names = {target.strip(" .") for _, target in turned} - {""} if way == "p2d" else set[str]()
        for where, row in forward:
            stated = Text(text(where, row, "prompt").strip(), text(where, row, "completion").strip())
            name = (
                next((name for name in names if name in stated.prompt), "")
                if way == "p2d"
                else stated.target.strip(" .")
            )
            if not name:
                gates.count(UNREADABLE, f"{where}: no reversed line names it")
                continue
            pairs.setdefault(name, []).append((where, stated))
        for name, wordings in pairs.items():
            found = True
            back = [
                Text(prompt.strip(), target)
                for prompt, target in turned
                if name in (prompt if way == "d2p" else target)
            ]
            where, own = wordings[0]
            claims = [Claim(other, "paraphrase") for _, other in wordings[1:]]
            claims += [Claim(other, "reversed") for other in back]
            yield Case(f"{way}:{name}", where, way, (Trial((own,), tuple(claims)),), name, (f"name:{name}",))
    if not found:
        raise InputError(
            str(path), "no p2d_prompts_*.jsonl or d2p_prompts_*.jsonl", "a folder of the reversal experiments"
        )
