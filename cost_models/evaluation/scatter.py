"""Predicted against measured times as a small SVG: beside each other, and as their ratio.

Points are drawn as squares on a grid, the more opaque the more of them fall together, so that a
file stays small however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape

import numpy as np

from cost_models.exact import Array

_COLOURS = ("#1f6fb4", "#d9730d", "#3a8a3a")
_CELL = 3  # px
_LEVELS = (1, 2, 4, 8)  # points of a cell → opacity
_LEFT, _TOP, _SIDE, _GAP = 60, 56, 330, 80
_WIDTH, _HEIGHT = 2 * (_LEFT + _SIDE) + _GAP - 20, _TOP + _SIDE + 70
_RATIOS = (0.25, 0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 2.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """A logarithmic axis from `low` to `high`."""

    low: float
    high: float

    def share(self, value: Array) -> Array:
        """Where values lie, 0 at `low` and 1 at `high`, (P,); beyond the ends they lie on these."""
        span = math.log(self.high / self.low)
        return np.clip(np.log(np.asarray(value) / self.low) / span, 0, 1)

    def decades(self) -> list[float]:
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        return [10.0**power for power in range(first, last + 1)]


def scatter_svg(points: Mapping[str, tuple[Array, Array]], *, title: str) -> str:
    """Draw predicted against measured times.

    Args:
        points: name of a series (3 at most) → its measured and predicted ms, each (P,), P ≥ 1,
            finite and > 0.
        title: what was measured, and what predicted it.
    """
    every = np.concatenate([np.concatenate(pair) for pair in points.values()])
    times = _Axis(low=float(every.min()) / 1.2, high=float(every.max()) * 1.2)
    worst = max(float(np.abs(np.log(p / m)).max()) for m, p in points.values())
    widest = next((r for r in _RATIOS if r > 1 and math.log(r) >= worst), _RATIOS[-1])
    ratios = _Axis(low=1 / widest / 1.02, high=widest * 1.02)
    second = _LEFT + _SIDE + _GAP
    shown = [ratio for ratio in _RATIOS if ratios.low <= ratio <= ratios.high]
    space = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    lines = [
        f'<svg {space} font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 22, title, "start", size=14),
        *_legend(points),
        *_frame(_LEFT, times, times, times.decades(), "predicted, ms"),
        f'<path d="M{_LEFT} {_TOP + _SIDE}l{_SIDE} {-_SIDE}" stroke="#888" fill="none"/>',
        *_squares(_LEFT, points, lambda m, p: (times.share(m), times.share(p))),
        *_frame(second, times, ratios, shown, "predicted / measured"),
        f'<path d="M{second} {_y(ratios, 1.0)}h{_SIDE}" stroke="#888" fill="none"/>',
        *_squares(second, points, lambda m, p: (times.share(m), ratios.share(p / m))),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _squares(
    left: int,
    points: Mapping[str, tuple[Array, Array]],
    place: Callable[[Array, Array], tuple[Array, Array]],
) -> Iterator[str]:
    cells = _SIDE // _CELL - 1
    for colour, (measured, predicted) in zip(_COLOURS, points.values(), strict=False):
        across, up = (np.rint(share * cells).astype(int) for share in place(measured, predicted))
        found, count = np.unique(np.stack([across, up]), axis=1, return_counts=True)
        level = np.searchsorted(_LEVELS, count, side="right")
        for one in np.unique(level):
            chosen = found[:, level == one].T.tolist()
            path = "".join(
                f"M{left + x * _CELL} {_TOP + _SIDE - y * _CELL - _CELL / 2:g}h{_CELL}"
                for x, y in chosen
            )
            opacity = 0.3 + 0.7 * one / len(_LEVELS)
            yield (
                f'<path d="{path}" stroke="{colour}" stroke-opacity="{opacity:.2f}" '
                f'stroke-width="{_CELL}"/>'
            )


def _frame(left: int, times: _Axis, up: _Axis, marks: list[float], name: str) -> Iterator[str]:
    yield (
        f'<rect x="{left}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#333"/>'
    )
    for mark in times.decades():
        x = left + float(times.share(np.array(mark))) * _SIDE
        yield f'<path d="M{x:.1f} {_TOP}v{_SIDE}" stroke="#e4e4e4"/>'
        yield _text(x, _TOP + _SIDE + 18, f"{mark:g}", "middle")
    for mark in marks:
        yield f'<path d="M{left} {_y(up, mark)}h{_SIDE}" stroke="#e4e4e4"/>'
        yield _text(left - 6, _y(up, mark) + 4, f"{mark:g}", "end")
    yield _text(left + _SIDE / 2, _TOP + _SIDE + 40, "measured, ms", "middle")
    yield _text(left, _TOP - 8, name, "start")


def _legend(points: Mapping[str, tuple[Array, Array]]) -> Iterator[str]:
    for place, (colour, name) in enumerate(zip(_COLOURS, points, strict=False)):
        x, y = _LEFT + 220 * place, _HEIGHT - 12
        yield f'<rect x="{x}" y="{y - 9}" width="9" height="9" fill="{colour}"/>'
        yield _text(x + 14, y, f"{name}: {len(points[name][0]):,} rows", "start")


def _y(axis: _Axis, value: float) -> float:
    return round(_TOP + _SIDE * (1 - float(axis.share(np.array(value)))), 1)


def _text(x: float, y: float, text: str, anchor: str, *, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(text)}</text>"
    )
