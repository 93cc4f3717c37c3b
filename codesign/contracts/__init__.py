"""What every plug-in sees: frozen dataclasses and protocols. Standard library only.

A *design* is one value per knob. *Columns* are many designs at once: knob → array of values.
"""

from codesign.contracts.costs import (
    BestSystem,
    CostPart,
    Costs,
    HardwareSpec,
    Prediction,
    PredictionColumns,
)
from codesign.contracts.plan import PlanRequest
from codesign.contracts.search import Feasible, LogNormal, Observation, Proposer
from codesign.contracts.task import Pausable, Task, TaskFamily
from codesign.contracts.trials import (
    TEST_LOSSES,
    Executor,
    FailureKind,
    Job,
    LaunchRequest,
    MeasuredRun,
    Outcome,
    Progress,
    Queued,
    TrialKind,
    TrialStatus,
)
from codesign.contracts.values import Columns, Design, Goal, Knob, Metric, Objective, Value

__all__ = [
    "TEST_LOSSES",
    "BestSystem",
    "Columns",
    "CostPart",
    "Costs",
    "Design",
    "Executor",
    "FailureKind",
    "Feasible",
    "Goal",
    "HardwareSpec",
    "Job",
    "Knob",
    "LaunchRequest",
    "LogNormal",
    "MeasuredRun",
    "Metric",
    "Objective",
    "Observation",
    "Outcome",
    "Pausable",
    "PlanRequest",
    "Prediction",
    "PredictionColumns",
    "Progress",
    "Proposer",
    "Queued",
    "Task",
    "TaskFamily",
    "TrialKind",
    "TrialStatus",
    "Value",
]
