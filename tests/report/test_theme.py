"""Contrast by the formula of WCAG 2: 4.5 for text, 3 for marks."""

from __future__ import annotations

import itertools

import pytest

from einfluence.report.theme import DARK, LIGHT, Theme


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_gives_what_wcag_says_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_marks_stand_out_from_paper_and_band(theme: Theme) -> None:
    for ground in (theme.paper, theme.band):
        assert min(contrast(theme.ink, ground), contrast(theme.muted, ground)) >= 4.5
        assert min(contrast(arm, ground) for arm in theme.arms) >= 3


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_arms_differ_in_colour(theme: Theme) -> None:
    assert all(one != other for one, other in itertools.combinations(theme.arms, 2))
