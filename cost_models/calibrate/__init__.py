"""Fit a device's cost model to what was measured on it: `codesign calibrate`.

files, studies ─ read ─► operations ─ operations ─► what predicts single operations
                    └──► steps ───── totals ──────► how whole steps fare, and how surely
all ─ report ─► errors before and after ─ artifact ─► JSON files, none of them ever lost
"""

from cost_models.calibrate.run import run as run
