"""An evaluation as a wandb run of job type eval: numbers, chart, table, pictures, and the checkpoint it is about."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.later import Later
from experiments.reporting.tables import tasks_of
from experiments.reporting.tails import CVAR, PERCENTILE, WORST
from experiments.runs import wandb_run

if TYPE_CHECKING:
    import wandb
else:
    wandb = Later("wandb")

COLUMNS: list[str | int] = ["task", "step", "episodes", "return", "greedy_return"]


def log(run_dir: Path, run_config: dict[str, Any], result: dict[str, Any], env_steps: int) -> None:
    """Write the eval run.

    Args:
        run_dir: the run's folder, with adaptation.png and, if the family can draw itself, rollout.gif.
        run_config: its config.json.
        result: its evaluation.json.
        env_steps: environment steps that the checkpoint was trained for: the x axis.
    """
    run = wandb_run.start_wandb(run_dir, run_config, agent=result["agent"], env=result["env"], job_type="eval")
    wandb_run.log_model(run, run_dir, used=True, iteration=result["iteration"])
    run.log(numbers(result) | {"time/env_steps": env_steps} | ({} if run.disabled else media(run_dir, result)))
    run.define_metric("eval/return", step_metric="eval/episodes")  # the curve once more, as dashboards can average over seeds
    for episodes, mean in zip(result["episodes"], result["return_mean"], strict=True):
        run.log({"eval/episodes": episodes, "eval/return": mean})
    run.finish()


def numbers(result: dict[str, Any]) -> dict[str, float]:
    """The metrics of an evaluation, under the fixed names."""
    means, low_high = result["return_mean"], result["return_ci95"]
    found = {f"eval/step_{k}": mean for k, mean in enumerate(means)}
    found |= {"eval/pre": means[0], "eval/post": means[-1], "eval/post_iqm": result["return_iqm"][-1]}
    found |= {"eval/post_low": low_high[-1][0], "eval/post_high": low_high[-1][1]}
    found |= {name.replace("return_", "eval/post_"): result[name][-1] for name in (*CVAR, *PERCENTILE, WORST)}
    if result.get("hurt") is not None:
        found["eval/hurt"] = result["hurt"]
    if result.get("greedy_mean"):
        found["eval/greedy_post"] = result["greedy_mean"][-1]
    for name, measure in result.get("measures", {}).items():
        start = f"eval/measures/{name}"
        found |= {f"{start}_pre": measure["mean"][0], f"{start}_post": measure["mean"][-1]}
        found |= {f"{start}_post_low": measure["ci95"][-1][0], f"{start}_post_high": measure["ci95"][-1][1]}
        found[f"{start}_greedy_post"] = measure["greedy_mean"][-1]
    return found


def media(run_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The adaptation curve as a chart, its numbers as a table with a row per task and step, the picture and the film."""
    episodes, modes = result["episodes"], result.get("greedy_returns")
    curve = wandb.Table(columns=["episodes", "return"], data=list(zip(episodes, result["return_mean"], strict=True)))
    rows = [
        [task, k, episodes[k], value, modes[task][k] if modes else None]
        for task, returns in enumerate(result["returns"])
        for k, value in enumerate(returns)
    ]
    title = f"{result['agent']} on {tasks_of(result)}"
    found = {
        "eval/adaptation": wandb.plot.line(curve, "episodes", "return", title=title),
        "eval/returns": wandb.Table(columns=COLUMNS, data=rows),
    }
    if (run_dir / "adaptation.png").is_file():
        found["eval/picture"] = wandb.Image(str(run_dir / "adaptation.png"))
    if (run_dir / "rollout.gif").is_file():
        found["eval/rollout"] = wandb.Video(str(run_dir / "rollout.gif"), format="gif")
    return found
