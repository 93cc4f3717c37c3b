"""Options that several commands share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from codesign.predicted import CONFIDENCE


class FiniteRange(click.FloatRange):
    """A range of numbers, of which neither NaN nor an infinity is one."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read one."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is no finite number.", param, ctx)
        return found


spec_file = click.argument("spec", type=click.Path(path_type=Path))
design_file = click.argument("design", type=click.Path(path_type=Path))
study_folder = click.argument("study", type=click.Path(path_type=Path))
data = click.option("--data", "data_path", metavar="PATH", help="Where the data set's files are.")
sets = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override: search.trials=40."
)
confidence = click.option(
    "--confidence", type=FiniteRange(0.5, 1, min_open=True, max_open=True), default=CONFIDENCE,
    show_default=True, help="Of each end.",
)  # fmt: skip
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
