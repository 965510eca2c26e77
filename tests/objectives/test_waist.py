"""Nothing outside objectives asks which kind of problem a base or a sample is for."""

from __future__ import annotations

import ast
from pathlib import Path

import einfluence

ROOT = Path(einfluence.__file__).parent
# What is written down of a sample is read back; reports and scorecards show what was written down.
AS_DATA = ("objectives/", "report/", "metrics/", "samples.py", "store/curations.py")

OTHERS = ("token_class", "masked_lm", "seq2seq")


def asked(tree: ast.AST) -> list[int]:
    """Lines with a comparison of a modality or of an objective's name, or with a test of an item's type."""
    lines: list[int] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [part for side in (node.left, *node.comparators) for part in ast.walk(side)]
            names = {part.attr for part in parts if isinstance(part, ast.Attribute)}
            names |= {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
            if names & {"modality", "objective", "causal_lm", "image_class", "sequence_class", *OTHERS}:
                subscripts = any(isinstance(side, ast.Subscript | ast.Attribute) for side in node.comparators)
                if not (subscripts and isinstance(node.ops[0], ast.In | ast.NotIn)):  # `... in objectives()[...].can`
                    lines.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            kinds = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            if kinds & {"TextItem", "ImageItem", "SequenceItem", "MarkedItem", "Seq2SeqItem"}:
                lines.append(node.lineno)
    return lines


def test_only_objectives_know_which_kind_of_problem_a_base_is_for() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in ROOT.rglob("*.py")
        if not str(path.relative_to(ROOT)).startswith(AS_DATA)
        if (lines := asked(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_a_question_would_be_found() -> None:
    for line in ('base.info.modality == "image"', 'sample.objective != "causal_lm"', "isinstance(item, TextItem)"):
        assert asked(ast.parse(line)) == [1]
    assert asked(ast.parse('"pixels" in base.objective.can')) == []
