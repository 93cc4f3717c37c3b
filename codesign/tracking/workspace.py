"""A study's workspace and report at Weights & Biases, defined in code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codesign.errors import ConfigError, MissingPackageError
from codesign.report.content import ReportContent
from codesign.report.figures import cost_of, label
from codesign.tracking.wandb import KEY, has_key

try:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces
    from wandb_workspaces import expr
except ImportError as error:
    raise MissingPackageError(
        f"the report at Weights & Biases needs wandb-workspaces, which does not load ({error})",
        hint="pip install 'wandb-workspaces>=0.1,<1'",
    ) from error

TABLES = ("pareto_front", "predicted_against_measured", "failures")


@dataclass(frozen=True, kw_only=True)
class Views:
    """A workspace (all runs, live) and a report (to read), neither of them saved yet."""

    workspace: Any
    report: Any

    def to_json(self) -> dict[str, Any]:
        """Return both as the server takes them."""
        return {
            name: json.loads(view._to_model().model_dump_json(by_alias=True))
            for name, view in (("workspace", self.workspace), ("report", self.report))
        }

    def save(self) -> dict[str, str]:
        """Save both; return their addresses.

        Raises:
            ConfigError: no key is at hand.
        """
        if not has_key():
            raise ConfigError("cannot be saved without a key", where="wandb report", hint=KEY)
        return {"workspace": self.workspace.save().url, "report": self.report.save().url}


def views(content: ReportContent, *, entity: str, project: str) -> Views:
    """Define a study's workspace and report; nothing is sent."""
    workspace = workspaces.Workspace(
        entity=entity,
        project=project,
        name=content.study,
        sections=[
            workspaces.Section(name="Front", panels=_front(content), is_open=True),
            workspaces.Section(name="Predicted and measured", panels=_checks(content)),
            workspaces.Section(name="Curves", panels=_curves()),
        ],
        runset_settings=workspaces.RunsetSettings(filters=_mine(content)),
    )
    report = reports.Report(
        entity=entity,
        project=project,
        title=content.title,
        description="Quality against cost of the designs of one study.",
        blocks=[
            block
            for heading, panels in (
                ("Pareto front", _front(content)),
                ("Predicted against measured", _checks(content)),
                ("Learning curves", _curves()),
            )
            for block in (reports.H2(heading), _grid(content, panels))
        ],
    )
    return Views(workspace=workspace, report=report)


def _grid(content: ReportContent, panels: Sequence[Any]) -> Any:
    # Without a project of its own it is the report's, and no server need be asked.
    mine = reports.Runset(name=content.study, filters=_mine(content))
    return reports.PanelGrid(runsets=[mine], panels=list(panels))


def _mine(content: ReportContent) -> Any:
    """Keep the runs of this study."""
    return expr.And(expr.Config("study") == content.study)


def _front(content: ReportContent) -> list[Any]:
    quality = content.quality.metric
    cost = cost_of(content) or "trial"
    return [
        reports.ScatterPlot(
            title=f"{label(quality)} against {label(cost)}",
            x=reports.SummaryMetric(cost),
            y=reports.SummaryMetric(quality),
            log_x=True,
        ),
        reports.LinePlot(title="hypervolume", x="designs_completed", y=["hypervolume"]),
        *(reports.WeavePanelSummaryTable(table_name=name) for name in TABLES[:1]),
    ]


def _checks(content: ReportContent) -> list[Any]:
    names = dict.fromkeys(name for trial in content.trials for name in trial.predictions)
    return [
        *(
            reports.ScatterPlot(
                title=f"{label(name)}: predicted against measured",
                x=reports.SummaryMetric(name),
                y=reports.SummaryMetric(f"predicted_{name}"),
            )
            for name in names
        ),
        *(reports.WeavePanelSummaryTable(table_name=name) for name in TABLES[1:]),
    ]


def _curves() -> list[Any]:
    return [
        reports.LinePlot(title=label(name), y=[name])
        for name in ("validation_auc", "validation_log_loss", "train_log_loss")
    ]
