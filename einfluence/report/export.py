"""The report's figures as files for papers and for the README, drawn without a browser."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import numpy.typing as npt
import vl_convert
from PIL import Image

from einfluence.errors import InputError
from einfluence.metrics.verdicts import rules_of
from einfluence.report import charts, images, matrix, sections, tiled
from einfluence.report.estimates import estimates
from einfluence.report.figure import Figure
from einfluence.report.page import variables
from einfluence.report.query import Arm, Part, parts_of, prepared
from einfluence.report.recipes import doses, few_arms, grids_of, recipes
from einfluence.report.rescue import rescue
from einfluence.report.scorecard import scorecard, scorecard_figure
from einfluence.report.theme import DARK, HELPED, HURT, LIGHT, PAGE, Theme
from einfluence.report.tuned import tuned

Format = Literal["svg", "pdf", "png"]
Look = Literal["light", "dark", "auto"]
AROUND = {"left": 28, "top": 12, "right": 24, "bottom": 12}  # room for a reader whose font is wider
THEMES: dict[str, Theme] = {
    name: replace(theme, legend=True) for name, theme in (("light", LIGHT), ("dark", DARK), ("auto", PAGE))
}


def figures(
    connection: duckdb.DuckDBPyConnection, folder: Path, format: Format = "svg", look: Look = "light"
) -> list[Path]:
    """Writes every figure of the report into a folder, one file each.

    Args:
        connection: Has the store's views.
        folder: Where to write; made when it is not there.
        format: Of the files.
        look: ``light`` or ``dark`` colours, or ``auto`` (SVG alone): the reader's own choice of the two.

    Returns:
        The files. Those of a second base of texts (or of images) end in ``-base-2``, and so on.

    Raises:
        InputError: For a format or a look that there is not.
    """
    if format not in ("svg", "pdf", "png") or look not in THEMES:
        raise InputError("figures", f"{format}, {look}", "svg, pdf or png, and light, dark or auto")
    if look == "auto" and format != "svg":
        raise InputError("figures", f"look auto with {format}", "auto with svg alone: only it can follow the reader")
    folder.mkdir(parents=True, exist_ok=True)
    theme = THEMES[look]
    drawn: dict[str, charts.Chart] = {}
    with prepared(connection):
        seen: Counter[str] = Counter()
        for part in parts_of(connection):
            seen[part.modality] += 1
            more = f"-base-{seen[part.modality]}" if seen[part.modality] > 1 else ""
            for figures in figures_of(connection, part).values():
                drawn |= {f"{figure.name}{more}": figure.draw(theme, False) for figure in figures}
            for arm, chart in matrices_of(connection, part, theme).items():
                drawn[f"matrix-{part.modality}-{arm.index}{more}"] = chart
    return [_write(folder / f"{name}.{format}", chart, theme, format) for name, chart in drawn.items()]


def figures_of(connection: duckdb.DuckDBPyConnection, part: Part) -> dict[str, list[Figure]]:
    """The figures of a part by section, without the heat maps; needs :func:`~einfluence.report.query.prepared`."""
    card, grids = scorecard(connection, part, domains=False), grids_of(connection, part)
    lines, dose = card["lines"], doses(card["lines"])
    few = few_arms(part, dose, grids)
    predicted = estimates(connection, part)
    rescued, grid = rescue(lines, few, rules_of(connection).apart), recipes(lines, part, dose, grids)
    found: dict[str, list[Figure | None]] = {
        "scorecard": [scorecard_figure(lines, few)],
        "slopes": [sections.slopes(connection, few)],
        "rescue": [rescued.figure if rescued else None],
        "estimates": [predicted.board, predicted.shares, predicted.cells] if predicted else [],
        "tuned": [tuned(connection, part)],
        "distance": [sections.distance(connection, few)],
        "noise": [*sections.noise(part, lines)],
        "layers": [figure for _, made in sections.layers(connection, few, lines) for figure in made],
        "recipes": [grid.figure if grid else None],
    }
    kept = {section: [figure for figure in figures if figure] for section, figures in found.items()}
    return {section: figures for section, figures in kept.items() if figures}


def matrices_of(connection: duckdb.DuckDBPyConnection, part: Part, theme: Theme) -> dict[Arm, charts.Chart]:
    """The heat maps of a part, by arm."""
    lines, columns = matrix.axes(connection, part)
    made: dict[Arm, charts.Chart] = {}
    if not lines or not columns:
        return made
    dark = theme.paper == DARK.paper
    for arm in part.arms:
        cells, high, wide = matrix.blocks(matrix.values(connection, arm, (len(lines), len(columns))))
        limit = matrix.limit_of(cells)
        groups = [matrix.groups([matrix.group_of(item) for item in items]) for items in (lines, columns)]
        named = tuple(
            [{"start": a / n, "end": b / n, "middle": (a + b) / 2 / n, "name": name} for a, b, name in group]
            for group, n in zip(groups, (high, wide), strict=True)
        )
        ends = f"{arm.short}: brown hurt, blue helped; full colour at ±{limit:.2f} nats, growing with √|I|"
        picture = images.data_uri(paint(cells, limit, dark=dark))
        size = (cells.shape[0], cells.shape[1])
        made[arm] = tiled.heatmap(picture, (named[0], named[1]), size, ends, theme)
    return made


def paint(cells: matrix.Floats, limit: float, *, dark: bool = False) -> Image.Image:
    """The picture of a matrix, one pixel a cell, in the page's colours."""
    paper = _rgb((DARK if dark else LIGHT).paper)
    far = np.array(HELPED[::-1] if dark else HELPED, dtype=float), np.array(HURT if dark else HURT[::-1], dtype=float)
    share = np.sqrt(np.clip(np.abs(np.nan_to_num(cells)) / limit, 0, 1)) * 3
    low = np.minimum(2, share.astype(int))
    up, down = (np.concatenate([paper[None], stops]) for stops in far)
    stops = np.where((cells < 0)[..., None, None], down, up)
    index = np.indices(low.shape)
    first, second = stops[index[0], index[1], low], stops[index[0], index[1], low + 1]
    colour = first + (second - first) * (share - low)[..., None]
    colour[~np.isfinite(cells)] = paper * 0.9 + 12 * dark
    return Image.fromarray(colour.round().astype(np.uint8), "RGB")


def _rgb(text: str) -> npt.NDArray[np.float64]:
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)], dtype=float)


def _write(path: Path, chart: charts.Chart, theme: Theme, format: Format) -> Path:
    plain = theme.paper == PAGE.paper
    text = charts.svg({**chart, "background": "transparent" if plain else theme.paper, "padding": AROUND}, theme)
    if format == "svg":
        style = f"<style>{variables()} svg{{background:var(--paper)}}</style>" if plain else ""
        head, rest = text.split(">", 1)
        path.write_text(f"{head}>{style}{rest}", encoding="utf-8")
    elif format == "pdf":
        path.write_bytes(vl_convert.svg_to_pdf(text))
    else:
        path.write_bytes(vl_convert.svg_to_png(text, scale=2))
    return path
