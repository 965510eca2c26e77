"""Making a language model that ships with the project: climb the ladder, export, mark, describe."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from transformers import AutoModelForCausalLM, PreTrainedModel

from pretraining.card import write_card
from pretraining.evaluation import evaluate
from pretraining.export import save_folder
from pretraining.language import Language
from pretraining.training import Plan, Progress, train


def pretrain(facts: Path, plan: Plan, folder: Path, work: Path, *, compile: bool = True) -> dict[str, float]:
    """Trains a model of a facts file's world and writes the folder that is shipped.

    Deterministic on one machine and version of torch. A run that was stopped goes on from its last checkpoint.

    Args:
        facts: The world (YAML).
        plan: Sizes, rates, rungs and seed.
        folder: Gets config.json, model.safetensors, the tokenizer, evaluation.json, training.json and README.md.
        work: Gets the checkpoints; must belong to this plan alone.
        compile: Fuse the training step; see :func:`~pretraining.training.train`.

    Returns:
        The marks and the perplexity, as in evaluation.json: of the stored half-precision weights, not the trained ones.
    """
    language = Language(facts)
    parameters, shape, progress = train(language, plan, work, compile=compile)
    save_folder(parameters, shape, language, folder)
    _write(folder / "training.json", _record(plan, progress, shape.parameters()))
    return mark(facts, folder)


def mark(facts: Path, folder: Path, *, count: int = 1000) -> dict[str, float]:
    """Measures a shipped folder's marks anew and writes evaluation.json and the model card."""
    language = Language(facts)
    model = cast("PreTrainedModel", AutoModelForCausalLM.from_pretrained(folder))
    result = evaluate(model, language, count)
    _write(folder / "evaluation.json", result)
    write_card(folder, language, result)
    return result


def _record(plan: Plan, progress: Progress, parameters: int) -> dict[str, Any]:
    rungs = [{"name": rung.name, **asdict(rung.level)} for rung in plan.rungs]
    return {
        "parameters": parameters,
        "steps": progress.step,
        "tokens": round(progress.tokens),
        "seconds": round(progress.seconds),
        "seed": plan.seed,
        "history": progress.history,
        "rungs": rungs,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
