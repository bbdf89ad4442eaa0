"""An experiment: what a command trains, as a value that a run's config.json names and `experiments.evaluate` finds again."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

from agents.agent import Kind
from experiments.cli.errors import UserError
from experiments.training import settings
from experiments.training.settings import find_users_modules

ROOMS = __package__.rpartition(".")[0]  # the package that holds the commands


class Experiment(NamedTuple):
    """What the runs of a command have in common.

    Attributes:
        name: of the command, such as "train"; ``script`` in config.json.
        config: the frozen dataclass of its settings.
        kind: of world.
        evaluate: (settings, config.json, flags of the evaluation) -> evaluates the newest checkpoint of one run, whose lock the
            caller holds, and writes evaluation.json.
        flags: which flags of `experiments.evaluate` it takes, besides run_dir and env.
        place: "module:NAME" where this value is found; that of a command in `experiments` if empty.
    """

    name: str
    config: type
    kind: Kind
    evaluate: Callable[[Any, dict[str, Any], dict[str, Any]], None]
    flags: tuple[str, ...] = ()
    place: str = ""

    def found_at(self) -> str:
        """``place``, spelled out."""
        return self.place or f"experiments.{self.name}:EXPERIMENT"


def experiment_of(run_config: dict[str, Any]) -> Experiment:
    """The experiment that a run's config.json names.

    Raises:
        UserError: there is none.
    """
    place = run_config.get("experiment") or f"experiments.{run_config['script']}:EXPERIMENT"
    module, _, name = place.partition(":")
    try:
        found = getattr(_imported(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the run was made by {place}, which cannot be found ({error}); run from the folder that holds it."
        ) from error
    if not isinstance(found, Experiment):
        raise UserError(f"the run was made by {place}, which is no Experiment but {found!r}.")
    return found


def _imported(module: str) -> Any:
    """A module of ours or, where there is none of that name, somebody else's."""
    room, _, command = module.partition(".")
    if room == "experiments" and importlib.util.find_spec(f".{command}", ROOMS):
        return importlib.import_module(f".{command}", ROOMS)
    find_users_modules()
    return importlib.import_module(module)


def config_of(experiment: Experiment, run_config: dict[str, Any], run_dir: Any) -> Any:
    """The settings of a run, from its config.json."""
    return settings.stored_as(experiment.config, experiment.kind, run_config["settings"] | {"run_dir": run_dir})
