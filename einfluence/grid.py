"""Grids of a spec: a list under some keys of a recipe is one arm for each of its values."""

from __future__ import annotations

import itertools
from typing import Any, cast

AXES = ("lr", "steps", "fifth")  # of a recipe, under which a list stands for a grid


def expand(arm: object) -> list[tuple[object, dict[str, int]]]:
    """The arms of a grid, each with the position of its value in the list under each axis."""
    if not isinstance(arm, dict):
        return [(arm, {})]
    fields = {"estimator": "finetune", **cast("dict[Any, Any]", arm)}
    recipe = fields.get("recipe")
    if not isinstance(recipe, dict):
        return [(fields, {})]
    recipe = cast("dict[Any, Any]", recipe)
    optimizer = cast("dict[Any, Any]", recipe["optimizer"]) if isinstance(recipe.get("optimizer"), dict) else {}
    written = {**{key: optimizer[key] for key in AXES if key in optimizer}, **recipe}
    axes = [key for key in AXES if isinstance(written.get(key), list) and written[key]]
    grid = itertools.product(*(range(len(written[key])) for key in axes))
    places = [dict(zip(axes, point, strict=True)) for point in grid]
    return [({**fields, "recipe": _at(recipe, optimizer, place)}, place) for place in places]


def _at(recipe: dict[Any, Any], optimizer: dict[Any, Any], place: dict[str, int]) -> dict[Any, Any]:
    """One point of a grid, its values where their lists stood: in the recipe, or under ``optimizer``."""
    here = {key: recipe[key][at] for key, at in place.items() if key in recipe}
    below = {key: optimizer[key][at] for key, at in place.items() if key not in recipe}
    return {**recipe, **here, **({"optimizer": {**optimizer, **below}} if below else {})}
