"""A saved W&B workspace of a sweep: its front and hypervolume, and its trials by coefficient.

    pip install wandb-workspaces
    python docs/examples/wandb_workspace.py mine --entity my-team --project moda

It prints the address of the view. The sweep must have been tracked online, or synced, in this project.
"""

import argparse

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces

import orchestrator as moda


def make_workspace(sweep: moda.OpenSweep, entity: str, project: str) -> workspaces.Workspace:
    """Return the workspace of a sweep, which is not saved yet."""
    objectives = [f"best/{name}" for name in sweep.config.search.objectives]
    vertical, *_, horizontal = objectives
    coefficients = sorted(sweep.config.search.space)
    columns = [panels.ParallelCoordinatesPlotColumn(panels.Config(f"coefficients.{name}")) for name in coefficients]
    columns += [panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric(name)) for name in objectives]
    of_sweep = [
        panels.LinePlot(title="hypervolume", x="trials", y=["hypervolume"]),
        panels.LinePlot(title="best accuracy", x="trials", y=[vertical]),
        panels.WeavePanelSummaryTable(table_name="front_chart_table"),
    ]
    of_trials = [
        panels.ScatterPlot(
            title="best of each trial",
            x=panels.SummaryMetric(horizontal),
            y=panels.SummaryMetric(vertical),
            log_x=sweep.config.search.objectives[horizontal.removeprefix("best/")].is_logarithmic,
        ),
        panels.ParallelCoordinatesPlot(columns, title="coefficients"),
        panels.ParameterImportancePlot(vertical),
    ]
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"sweep {sweep.sweep_id}",
        sections=[
            workspaces.Section(name="The sweep", panels=of_sweep, is_open=True),
            workspaces.Section(name="Its trials", panels=of_trials, is_open=True),
        ],
        runset_settings=workspaces.RunsetSettings(filters=f"Metric('group') = '{sweep.sweep_id}'"),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep")
    parser.add_argument("--entity", required=True)
    parser.add_argument("--project", default="moda")
    parser.add_argument("--storage", help="where the sweep is kept; by default the usual storage")
    asked = parser.parse_args()
    opened = moda.open_sweep(asked.sweep, storage=asked.storage)
    workspace = make_workspace(opened, asked.entity, asked.project)
    workspace.save()
    print(workspace.url)
