"""Peak bytes of the profiler's steps, as the closed form predicts them."""

from __future__ import annotations

import numpy as np

from cost_models.memory.stages import stages, step_peak
from cost_models.profile.record import Case
from cost_models.profile.spaces import StepDesign
from cost_models.training import FP32_BYTES, ID_BYTES


def profiled_peak_bytes(case: Case, *, one_step_layers: bool) -> float:
    """Predict the peak of an eager step that was profiled in FP32.

    Dense Adam, inputs, stacked tables with one state a row. Without tables, the vectors that
    lookups would give are an input; X_0 where there is no other.
    """
    design, batch = StepDesign.from_json(case.design), case.batch
    d, features = design.config["d"], design.features
    states = {"adam": 2, "none": 0}[design.optimizer]
    held = (1 + states) * design.parameters + batch * (design.dense + 1)
    if design.table_rows:
        ids = ID_BYTES / FP32_BYTES * batch * features
        held += features * design.table_rows * (d + 1) + ids
    elif design.dense:
        held += batch * features * d
    found = stages(
        design.config,
        design.schema,
        batch=np.array([float(batch)]),
        one_step_layers=one_step_layers,
    )
    return float(FP32_BYTES * (held + step_peak(found)[0]))
