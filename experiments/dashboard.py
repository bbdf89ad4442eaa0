"""``python -m experiments.dashboard DIR [DIR ...]``: the project's saved view in wandb, or without an account the HTML page.

The view has learning curves grouped by agent with bands over seeds, adaptation curves, throughput, and a table of runs. It
shows every run of the wandb project; the folders say which project and which settings are worth a column.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from experiments.cli.command_line import command_line
from experiments.cli.errors import UserError, one_line_errors
from experiments.cli.flags import parse, with_paths
from experiments.cli.later import Later
from experiments.compare import write_page
from experiments.reporting.comparison import Comparison, gather
from experiments.runs import wandb_upload
from experiments.runs.folder import NOT_SETTINGS

if TYPE_CHECKING:
    import wandb
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
else:
    wandb = Later("wandb")
    wr = Later("wandb_workspaces.reports.v2")
    ws = Later("wandb_workspaces.workspaces")

VIEW = "metarl: agents compared"
STEPS, GROUP = "time/env_steps", "Group"  # a run's group is <agent>/<env>
TIMEOUT = 20  # seconds for the server to answer
COLUMNS = (
    "config:agent",
    "config:seed",
    "config:env",
    "summary:meta/post",
    "summary:eval/pre",
    "summary:eval/post",
    "summary:time/env_steps",
    "summary:time/steps_per_second",
    "config:git_commit",
    "config:device.kind",
)
NOT_COLUMNS = (*NOT_SETTINGS, "agent", "seed", "seeds", "env")


@dataclasses.dataclass(frozen=True)
class DashboardConfig:
    """Save the project's view in wandb; without an account, write the same comparison as one HTML page."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, or folders that hold run folders."""
    out: Path = Path("runs/comparison")
    """Where comparison.html is written when there is no account."""
    entity: str | None = None
    """wandb user or team; WANDB_ENTITY or the account's own if not given."""
    project: str | None = None
    """wandb project; the runs' own if not given."""

    def __post_init__(self) -> None:
        """Folders may be given as text."""
        with_paths(self, "runs", "out")


def dashboard(config: DashboardConfig) -> None:
    """Save the view, or write the page."""
    comparison = gather(config.runs)
    if not wandb_upload.has_account():
        page = write_page(config.out, comparison)
        print(f"no wandb account is set up (wandb login), so the comparison is in {page}")
        return
    try:
        saved = save(config, comparison)
    except Exception as error:  # whatever the server or the library says, the comparison is not lost
        page = write_page(config.out, comparison)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"wandb did not save the view ({reason}); the comparison is in {page}.") from error
    print(f"saved {saved.url}; runs that are not there yet: wandb sync DIR/wandb")


def save(config: DashboardConfig, comparison: Comparison) -> "ws.Workspace":
    """Save the view in wandb."""
    trouble = wandb_upload.check_server()
    if trouble:
        raise UserError(trouble)
    entity = config.entity or os.environ.get("WANDB_ENTITY") or wandb.Api(timeout=TIMEOUT).default_entity
    if not entity:
        raise UserError("the account has no default user or team; give --entity")
    return workspace(entity, config.project or project_of(comparison), differing(comparison)).save()


def project_of(comparison: Comparison) -> str:
    """The wandb project of the runs.

    Raises:
        UserError: they lie in several.
    """
    found = sorted({run.config.get("wandb_project", "metarl") for its in comparison.runs.values() for run in its})
    if len(found) > 1:
        raise UserError(f"the runs are of the wandb projects {', '.join(found)}; choose one with --project.")
    return found[0]


def differing(comparison: Comparison) -> list[str]:
    """Settings that are not the same in all runs."""
    settings = [run.config["settings"] for its in comparison.runs.values() for run in its]
    names = dict.fromkeys(name for values in settings for name in values if name not in NOT_COLUMNS)
    return [name for name in names if len({repr(values.get(name)) for values in settings}) > 1]


def workspace(entity: str, project: str, settings: Sequence[str] = ()) -> "ws.Workspace":
    """The view as an object. Needs no network; ``save`` does.

    Args:
        entity: wandb user or team.
        project: wandb project.
        settings: names of settings that get a column in the table of runs.
    """
    columns = [*COLUMNS, *(f"config:{name}" for name in settings)]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=VIEW,
        sections=[
            ws.Section("Learning curves", _learning(), is_open=True),
            ws.Section("Adaptation to held-out tasks", _adaptation(), is_open=True),
            ws.Section("Throughput", [_curve("time/steps_per_second", "environment steps per second")], is_open=True),
            ws.Section("Runs", [wr.RunComparer(diff_only=True, layout=wr.Layout(w=24, h=14))], is_open=True),
        ],
        settings=ws.WorkspaceSettings(x_axis=STEPS, max_runs=100),
        runset_settings=ws.RunsetSettings(groupby=[ws.Metric(GROUP), ws.Metric("JobType")], pinned_columns=columns),
    )


def _curve(metric: str, label: str, x: str = STEPS, title_x: str = "environment steps") -> Any:
    """A line per agent: the mean over its seeds, with a band from the least to the greatest."""
    return wr.LinePlot(
        title=metric,
        x=x,
        y=[metric],
        title_x=title_x,
        title_y=label,
        groupby=GROUP,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=100,
    )


def _learning() -> list[Any]:
    metrics = {"meta/post": "return after adaptation", "meta/pre": "return before adaptation", "policy/entropy": "nats"}
    return [_curve(name, label) for name, label in (metrics | {"outer/grad_norm": "norm of the meta-gradient"}).items()]


def _adaptation() -> list[Any]:
    fields = {"x": "episodes", "y": "return", "stroke": "name"}
    query = {"summaryTable": {"tableKey": "eval/adaptation_table"}}
    after = wr.BarPlot(
        title="after adaptation",
        metrics=["eval/post"],
        title_x="return",
        groupby=GROUP,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
    )
    return [
        _curve("eval/return", "return per episode", "eval/episodes", "episodes used on the new task"),
        wr.CustomChart(
            query=query, chart_name="wandb/line/v0", chart_fields=fields, chart_strings={"title": "adaptation, each seed"}
        ),
        after,
        wr.MediaBrowser(title="before and after", media_keys=["eval/rollout", "eval/picture"], num_columns=2),
    ]


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    dashboard(parse(DashboardConfig, args, command_line("dashboard")))


if __name__ == "__main__":
    main()
