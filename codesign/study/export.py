"""The trials of a study as a table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign.errors import ConfigError, StudyError
from codesign.registry import nearest
from codesign.study.findings import best_finding, findings
from codesign.study.folder import TEMPORARY
from codesign.study.recorded import RecordedStudy
from codesign.study.state import Trial

if TYPE_CHECKING:
    import polars

# File endings that can be written, each with the method of a data frame that does.
FORMATS = {".csv": "write_csv", ".json": "write_json", ".parquet": "write_parquet"}


def trial_table(study: RecordedStudy) -> polars.DataFrame:
    """Return one row a trial, by number; empty where a trial has no such value.

    Columns: what stands in `_row`, then `design.KNOB` (knobs in effect), `cost.NAME` (exact
    counts), `predicted.NAME` (medians), `system.NAME` (settings chosen for the design where they
    differ from the study's), `measured.NAME` (of this one run) and `measured_at_SHARE.NAME` (where
    it paused, after that share of its training).
    """
    import polars

    found = findings(study.state, study.spec)
    best = best_finding(found, study.spec)
    judged = {f.trial.number: (f.on_front, f.confirmed) for f in found}
    rows = []
    for trial in study.state.trials.values():
        on_front, confirmed = judged.get(trial.number, (False, None))
        rows.append({
            **_row(trial),
            "on_front": on_front,
            "confirmed": confirmed,
            "best": best is not None and best.trial.number == trial.number,
            **{f"design.{name}": value for name, value in trial.awake.items()},
            **{f"cost.{name}": value for name, value in trial.costs.items()},
            **{f"predicted.{name}": found["value"] for name, found in trial.predictions.items()},
            **{f"system.{name}": value for name, value in trial.system_settings.items()},
            **{f"measured.{name}": value for name, value in trial.metrics.items()},
            **{
                f"measured_at_{share:g}.{name}": value
                for share, metrics in trial.reached.items()
                for name, value in metrics.items()
            },
        })  # fmt: skip
    return polars.DataFrame(rows, infer_schema_length=None, strict=False)


def write_table(table: polars.DataFrame, out: Path) -> None:
    """Write a table in the format that the file's ending names; replaced whole or not at all.

    Raises:
        ConfigError: the ending is none of `FORMATS`.
        StudyError: the file cannot be written.
    """
    if out.suffix not in FORMATS:
        raise ConfigError(
            f"the ending of the file must be one of {', '.join(FORMATS)}; "
            f"{nearest(out.suffix, FORMATS)}",
            where=str(out),
        )
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, suffix=TEMPORARY) as folder:
            written = Path(folder) / out.name
            getattr(table, FORMATS[out.suffix])(written)
            written.replace(out)
    except OSError as error:
        raise StudyError(f"cannot be written: {error}", where=str(out)) from error


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "kind": trial.kind,
        "status": trial.status,
        "repeats": trial.of,
        "seed": trial.seed,
        "attempt": trial.attempt,
        "lost": trial.lost,
        "failure": trial.failure,
        "reason": trial.reason,
        "seconds": trial.seconds,
        "share": trial.share,
        "misses": ", ".join(trial.misses) or None,
    }
