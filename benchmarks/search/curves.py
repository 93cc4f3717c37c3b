"""Hypervolume shares over trials as a small SVG: medians of seeds, with bands of quartiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

COLOURS = ("#1f6fb4", "#d9730d", "#3a8a3a", "#b03a5b", "#7a5bb5", "#8a6d3b", "#777777")
LEFT, TOP, SIDE, GAP = 56, 54, 380, 70
SPACE = 'xmlns="http://www.w3.org/2000/svg"'
STYLE = 'font-family="sans-serif" font-size="12"'
LEAST = 0.5  # the share where the axis begins


def curves_svg(panels: Mapping[str, Mapping[str, Any]], *, trials: int) -> str:
    """Draw panels beside each other.

    Args:
        panels: title → method → `curve` of `q25`, `median` and `q75`, from the first trial on.
        trials: how many are drawn; longer curves are cut.
    """
    methods = list(dict.fromkeys(method for panel in panels.values() for method in panel))
    width, height = LEFT + len(panels) * (SIDE + GAP), TOP + SIDE + 60 + 18 * len(methods)
    lines = [
        f'<svg {SPACE} viewBox="0 0 {width} {height}" {STYLE} role="img">',
        "<title>Share of the whole hypervolume over trials</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for i, (title, panel) in enumerate(panels.items()):
        left = LEFT + i * (SIDE + GAP)
        lines += [*frame(left, title, trials), *drawn(left, panel, methods, trials)]
    for i, method in enumerate(methods):
        y = TOP + SIDE + 54 + 18 * i
        lines.append(f'<path d="M{LEFT} {y - 4}h24" stroke="{colour(i)}" stroke-width="2"/>')
        lines.append(f'<text x="{LEFT + 32}" y="{y}">{escape(method)}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def frame(left: int, title: str, trials: int) -> Iterator[str]:
    """Draw a panel's axes."""
    yield f'<text x="{left}" y="{TOP - 28}" font-size="14">{escape(title)}</text>'
    what = "share of the whole hypervolume, log10 of compute"
    yield f'<text x="{left}" y="{TOP - 10}" fill="#555">{what}</text>'
    yield f'<rect x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#888"/>'
    for tenth in range(round(10 * LEAST), 11):
        y = height_of(tenth / 10)
        yield f'<path d="M{left} {y:.1f}h{SIDE}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>'
    for trial in range(0, trials + 1, 15):
        x = left + SIDE * trial / trials
        yield f'<text x="{x:.1f}" y="{TOP + SIDE + 16}" text-anchor="middle">{trial}</text>'
    yield f'<text x="{left + SIDE / 2}" y="{TOP + SIDE + 32}" text-anchor="middle">trials</text>'


def drawn(
    left: int, panel: Mapping[str, Any], methods: Sequence[str], trials: int
) -> Iterator[str]:
    """Draw each method's band and median."""
    for method, found in panel.items():
        ink = colour(methods.index(method))
        low, median, high = (
            points(left, found["curve"][q], trials) for q in ("q25", "median", "q75")
        )
        band = " ".join([*low, *reversed(high)])
        yield f'<polygon points="{band}" fill="{ink}" opacity="0.13"/>'
        yield (
            f'<polyline points="{" ".join(median)}" fill="none" stroke="{ink}" stroke-width="2"/>'
        )


def points(left: int, shares: Sequence[float], trials: int) -> list[str]:
    """Place the shares of trials 1, 2, …."""
    return [
        f"{left + SIDE * trial / trials:.1f},{height_of(share):.1f}"
        for trial, share in enumerate(shares[:trials], start=1)
    ]


def height_of(share: float) -> float:
    """Place a share; lower ones lie on the axis."""
    return TOP + SIDE * (1 - (max(share, LEAST) - LEAST) / (1 - LEAST))


def colour(i: int) -> str:
    """The colour of the i-th method."""
    return COLOURS[i % len(COLOURS)]
