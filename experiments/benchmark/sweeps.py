"""``python -m experiments.benchmark.sweeps``: settings trained together in one program against one after another."""

import dataclasses
import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax

from agents.agent import Kind
from experiments import sinusoid
from experiments.benchmark import timing, workloads
from experiments.benchmark.files import about_machine, refuse_folder, save
from experiments.cli.command_line import command_line
from experiments.cli.errors import one_line_errors
from experiments.cli.flags import at_least, between, parse
from experiments.reporting.tables import Table, number, show
from experiments.training import config as of_train
from experiments.training.devices import choose_batch, choose_devices, spread
from experiments.training.nonfinite import skip_update
from experiments.training.program import MAX_BLOCKS, Program, compile_chunk
from experiments.training.seeds import batch_seeds
from experiments.training.settings import changed
from experiments.training.sweep import swept_of
from metarl.interfaces import MetaLearner
from metarl.tasks import ONE_BATCH, TaskMap

LEAST_RATE, GREATEST_RATE = 0.003, 0.1  # inner step sizes, evenly spread


@dataclasses.dataclass(frozen=True)
class SweepsConfig:
    """Inner step sizes of MAML swept in one program, against the same runs one after another, timed in turn."""

    out: Path = Path("sweeps.json")
    """Where the JSON is written; an earlier one is replaced."""
    only: tuple[Literal["sinusoid", "navigation"], ...] = ("sinusoid", "navigation")
    """Which of the two: 16 settings of the sinusoid protocol maml; 8 of navigation, 20 tasks x 20 episodes x 100 steps."""
    rounds: int = 5
    """Rounds in which each program has its turn."""
    seconds: float = 2.0
    """How long a turn takes, about."""
    quick: bool = False
    """Tiny sizes, to see that everything works: its numbers mean nothing."""


def _sinusoid(quick: bool) -> tuple[Any, Kind, Callable[[Any], MetaLearner], TaskMap, int]:
    small: dict[str, Any] = {"num_tasks": 2, "hidden_sizes": (4,)} if quick else {}
    config = sinusoid.resolve(sinusoid.sinusoid_config(run_dir=workloads.NOWHERE, **small))
    return config, sinusoid.KIND, lambda each: sinusoid.build(each, each.train_shots).learner, ONE_BATCH, 2 if quick else 16


def _navigation(quick: bool) -> tuple[Any, Kind, Callable[[Any], MetaLearner], TaskMap, int]:
    size: dict[str, Any] = {"num_tasks": 20, "num_episodes": 20, "horizon": 100}
    if quick:
        size = {"num_tasks": 2, "num_episodes": 2, "horizon": 3, "hidden_sizes": (4,)}
    config = workloads.settings("metarl/Navigation2D-v0", **size)
    family = of_train.family_of(config)
    task_map = spread(choose_devices(None, config.num_tasks, family), choose_batch(None, family))
    return config, of_train.KIND, lambda each: of_train.build(each, task_map=task_map).learner, task_map, 2 if quick else 8


def measure(name: str, config: SweepsConfig) -> dict[str, Any]:
    """Seconds per meta-iteration of all settings together and of one alone, and what each costs to compile."""
    base, kind, learner_of, task_map, count = {"sinusoid": _sinusoid, "navigation": _navigation}[name](config.quick)
    rates = [LEAST_RATE + i * (GREATEST_RATE - LEAST_RATE) / (count - 1) for i in range(count)]
    runs = [changed(base, kind, inner_lr=rate) for rate in rates]
    programs = {}
    for called, its in (("together", runs), ("alone", runs[:1])):
        swept = swept_of(its, kind, ["inner_lr"], learner_of) if len(its) > 1 else None
        several = batch_seeds(learner_of(its[0]), [0] * len(its), swept=swept)
        states = several.init()
        with timing.empty_cache():
            program = compile_chunk(several, states, MAX_BLOCKS, skip_update, task_map)
        programs[called] = (program, states)
    calls: dict[str, Callable[[int], Any]] = {called: functools.partial(_run, *each) for called, each in programs.items()}
    turns = timing.in_turn(calls, rounds=config.rounds, seconds=config.seconds)
    together, alone = (turns[called]["median"] for called in ("together", "alone"))
    ratios = [a / (count * b) for a, b in zip(turns["together"]["values"], turns["alone"]["values"], strict=True)]
    return {
        "name": name,
        "settings": count,
        "seconds_per_iteration": turns,
        "compile_seconds": {called: program.compile_seconds for called, (program, _) in programs.items()},
        "together_over_one_after_another": timing.spread(ratios),
        "one_after_another": count * alone,
        "together": together,
    }


def _run(program: Program, states: Any, count: int) -> Any:
    return jax.block_until_ready(program.call(states, 0, count))


def table(found: list[dict[str, Any]]) -> Table:
    """A row per workload."""
    rows = []
    for each in found:
        ratio, compiled = each["together_over_one_after_another"], each["compile_seconds"]
        rows.append(
            [
                f"{each['settings']} settings of {each['name']}",
                f"{1e3 * each['together']:.3g}",
                f"{1e3 * each['one_after_another']:.3g}",
                f"{ratio['median']:.2f} [{ratio['min']:.2f}, {ratio['max']:.2f}]",
                number(compiled["together"]),
                number(each["settings"] * compiled["alone"]),
            ]
        )
    headings = ["", "ms together", "ms one after another", "ratio", "s to compile", "s one after another"]
    return Table(headings, rows, caption="Of a meta-iteration of all settings; ratio: median over rounds, least and greatest.")


@one_line_errors
def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    config = parse(SweepsConfig, args, command_line("benchmark.sweeps"))
    at_least(config, rounds=1)
    between(config, seconds=(1e-3, 600))
    refuse_folder(config.out)
    if config.quick:
        config = dataclasses.replace(config, rounds=2, seconds=0.01)
    machine = about_machine(f"{command_line('benchmark.sweeps')} {shlex.join(sys.argv[1:] if args is None else args)}")
    found = [measure(name, config) for name in dict.fromkeys(config.only)]
    show(table(found))
    save(config.out, machine | {"sweeps": found})


if __name__ == "__main__":
    main()
