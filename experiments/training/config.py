"""The settings of a reinforcement-learning run, and the family and agent they describe."""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import optax
import tyro

import agents
import envs
from agents import ReinforcementSettings
from agents.agent import Kind
from agents.parts.action_units import has_gaussian
from agents.parts.encoding import num_read, read_space, refuse_unknown, trunk_of
from envs import registration
from envs.options import from_flags
from experiments.cli.errors import UserError
from experiments.cli.flags import MAX_SEED, at_least, between, flag, with_paths
from experiments.training import settings
from experiments.training.settings import find_users_modules
from metarl.advantages import MOST_OBSERVED, is_large, num_unknowns
from metarl.interfaces import MetaLearner
from metarl.tasks import ONE_BATCH, TaskMap

OUTER_LR = 1e-3
KIND: Kind = "reinforcement"
# Modules that held families before, by the names under which runs know them.
EXAMPLES = f"{__package__.rpartition('.')[0]}.examples.gymnasium_families"
MOVED = {"experiments.host_families": EXAMPLES}


def schedule(kind: str, rate: float, num_iterations: int) -> optax.ScalarOrSchedule:
    """The outer step size: constant, or to zero over ``num_iterations``, along a line or a cosine."""
    if kind == "constant":
        return rate
    falling = optax.linear_schedule(rate, 0.0, num_iterations)
    return falling if kind == "linear" else optax.cosine_decay_schedule(rate, num_iterations)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ReinforcementSettings):
    """Meta-train an agent on a task family; then evaluate it on held-out tasks."""

    run_dir: Path
    """Where the run is written."""
    env: str = "metarl/Navigation2D-v0"
    """Task family: a registered id, or my_module:my/Env-v0 to import my_module first."""
    agent: str = "maml"
    """maml, maml-trpo, promp, rl2, pretrained ... (the README lists them), or my_module:mine/agent. Which flags there are
    depends on it: --agent NAME --help."""
    network: str | None = None
    """my_module:mine/network, registered there by agents.register_network; an MLP of --hidden-sizes if not given."""
    seed: int = 0
    """Everything random in training follows from it; held-out tasks do not depend on it."""
    seeds: int | None = None
    """Train this many seeds together, from --seed on, each in a folder of its own: run_dir/seed-0 and so on."""
    sweep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=VALUE,VALUE,...: train each of these values, and with several --sweep every combination, in folders of their own in
    run_dir. Numbers such as inner_lr are trained together in one program."""
    num_iterations: int = 300
    """Meta-iterations: outer updates."""
    num_tasks: int = 20
    """M: tasks per meta-iteration."""
    horizon: int | None = None
    """T: steps per episode; the family's own if not given."""
    env_options: tuple[str, ...] = ()
    """Further options of the family's constructor as NAME=VALUE, such as arms=10 or backend=mjx; values are read as JSON."""
    train_tasks: str | None = None
    """A .csv or .json file of the tasks to train on, drawn as often as its weights say; the family's own if not given."""
    distinct_tasks: bool = False
    """Draw the tasks of each meta-iteration from that file without replacement."""
    held_out_tasks: str | None = None
    """A file of the tasks to evaluate on, in order; the family's own if not given."""
    outer_lr: float = OUTER_LR
    """Step size of Adam on the meta-parameters."""
    outer_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How outer_lr goes on: constant, or to zero over num_iterations; a run that is not constant cannot be extended."""
    checkpoint_every: int = 50
    """Meta-iterations between checkpoints; one more is written when SIGTERM or Ctrl-C stops the run."""
    devices: int | None = None
    """Spread the tasks over this many devices; if not given, over as many as there are and divide num_tasks."""
    hosts: str | None = None
    """Share the tasks among processes on several hosts: ADDRESS:PORT,PROCESSES,PROCESS, or auto; see docs/scaling.md."""
    hosts_wait: float = 300.0
    """Seconds to wait for the other processes at the start."""
    task_batch: int | None = None
    """Tasks worked on at once by each device; fewer need less memory. If not given, 1 on a CPU and all elsewhere."""
    remat: bool = False
    """Recompute inner steps in the backward pass instead of storing them: less memory, more time."""
    on_nonfinite: Literal["stop", "skip"] = "stop"
    """When numbers become non-finite: stop the run, or skip that outer update and count it (outer/skipped)."""
    profile: bool = False
    """Write a JAX profiler trace of one compiled call to profile/ in the run's folder."""
    eval_tasks: int = 100
    """Held-out tasks in the evaluation at the end; 0 leaves it out."""
    eval_steps: int = 3
    """Inner steps (or episodes, for agents with memory) in that evaluation."""
    eval_episodes: int | None = None
    """Episodes per inner step in that evaluation; as in training if not given."""
    resume: bool = False
    """Continue the run in run_dir; settings not given are the run's own."""
    overwrite: bool = False
    """Replace the run in run_dir."""
    start_from: str | None = None
    """Begin with the meta-parameters of another run: its folder, or a name as of evaluate --pretrained. Settings not given are
    those of that run; the network must be the same, and optimiser and iterations begin anew."""
    trust: tuple[str, ...] = ()
    """Modules of others that the run to go on with or to start from may have imported; see evaluate --help."""
    own: Any = None
    """The agent's hyperparameters; its defaults if None."""

    def __post_init__(self) -> None:
        """Take a folder's name as text."""
        with_paths(self, "run_dir")


class Built(NamedTuple):
    """What a configuration describes."""

    family: envs.TaskFamily
    learner: MetaLearner


def train_config(**given: Any) -> TrainConfig:
    """A configuration from settings by name, those of the agent among them.

    Raises:
        UserError: no such agent or setting, or a value out of bounds.
    """
    return settings.from_flat(TrainConfig, KIND, given)


def resolve(config: TrainConfig) -> TrainConfig:
    """Refuse bad flag values before anything compiles, and fill in what depends on the action space."""
    config = config if config.own is not None else train_config(**settings.common(config))
    files = {name: getattr(config, name) for name in TASK_FILES}
    absolute: dict[str, Any] = {name: file and str(Path(file).resolve()) for name, file in files.items()}
    config = dataclasses.replace(config, **absolute)
    infinity = float("inf")
    at_least(config, num_tasks=1, num_episodes=1, num_iterations=0, horizon=1, hidden_sizes=1)
    at_least(config, checkpoint_every=1, eval_tasks=0, eval_steps=0, eval_episodes=1, devices=1, task_batch=1)
    between(config, seed=(0, MAX_SEED), outer_lr=(0, infinity), initial_std=(1e-6, infinity), action_scale=(1e-6, infinity))
    between(config, gamma=(0, 1), gae_lambda=(0, 1))
    family = family_of(config)
    try:
        refuse_unknown("action_space", family.action_space)
        seen = read_space(family.observation_space)
        if config.network is None:  # of one's own it says itself what it is
            config = dataclasses.replace(config, trunk=trunk_of(seen, config.trunk))
    except ValueError as error:
        raise UserError(f"{config.env}: {error}") from error
    if getattr(config.own, "baseline", None) == "auto":
        baseline = "time" if is_large(seen.shape, config.num_episodes * family.horizon) else "linear"
        config = dataclasses.replace(config, own=dataclasses.replace(config.own, baseline=baseline))
    if has_gaussian(family.action_space):
        return config if config.initial_std is not None else dataclasses.replace(config, initial_std=1.0)
    asked = {"initial_std": config.initial_std is not None, "action_scale": config.action_scale != 1}
    for name, why in (("initial_std", "there is no Gaussian"), ("action_scale", "there is nothing to scale")):
        if asked[name]:
            value = getattr(config, name)
            raise UserError(f"{flag(name)} is {value}, but actions of {config.env} are discrete: {why}. Leave it out.")
    return config


def chosen(given: TrainConfig, resolved: TrainConfig) -> str | None:
    """One line about a choice of `resolve` that changes what is learned, or None."""
    if getattr(given.own, "baseline", None) == "auto" and resolved.own.baseline == "time":
        family = family_of(resolved)
        size, num_steps = num_read(family.observation_space), resolved.num_episodes * family.horizon
        why = f"the linear one reads up to {MOST_OBSERVED:,}"
        if size <= MOST_OBSERVED:
            why = f"the linear one would have {num_unknowns(size):,} unknowns for the {num_steps:,} steps of a batch"
        return f"--baseline is time, since observations have {size:,} numbers; {why} unless asked for."
    return None


def family_of(config: TrainConfig) -> envs.TaskFamily:
    """The task family of a configuration."""
    try:
        options = from_flags(config.horizon, config.env_options)
    except ValueError as error:
        raise UserError(str(error)) from error
    return with_files(named_family(config.env, options), config.train_tasks, config.held_out_tasks, config.distinct_tasks)


def _content(path: str | None) -> bytes:
    """What a file holds now; empty where there is none that can be read, which `envs.read_tasks` says in its own words."""
    with contextlib.suppress(OSError):
        return Path(path).read_bytes() if path and Path(path).is_file() else b""
    return b""


def with_files(family: envs.TaskFamily, train: str | None, held_out: str | None, distinct: bool) -> envs.TaskFamily:
    """The family with tasks of files in the place of its own; the same one for the same files.

    Raises:
        UserError: a file that cannot be read, or tasks that are none of the family's.
    """
    if distinct and train is None:
        raise UserError("--distinct-tasks is given, but there is no --train-tasks to draw them from; leave it out.")
    if train is None and held_out is None:
        return family
    files = tuple((path, _content(path)) for path in (train, held_out))
    key = (id(family), files, distinct)
    if _LISTED.get("key") != key:
        try:
            lists = {
                name: envs.read_tasks(path, family) for name, path in zip(TASK_FILES, (train, held_out), strict=True) if path
            }
            if "held_out_tasks" in lists and lists["held_out_tasks"].weights is not None:
                raise ValueError(f"{held_out}: held-out tasks have no weights, each counts alike; leave the column out.")
            tasks = {name: lists[name].tasks if name in lists else None for name in TASK_FILES}
            weights = lists["train_tasks"].weights if "train_tasks" in lists else None
            listed = envs.with_tasks(family, *tasks.values(), weights=weights, distinct=distinct)
        except ValueError as error:
            raise UserError(str(error)) from error
        _LISTED.update(key=key, made_of=family, listed=listed)
    return _LISTED["listed"]


TASK_FILES = ("train_tasks", "held_out_tasks")
_LISTED: dict[str, Any] = {}  # the newest


def named_family(env: str, options: dict[str, Any]) -> envs.TaskFamily:
    """`make_family`, with a `UserError` where there is none."""
    try:
        return make_family(env, options)
    except ValueError as error:
        raise UserError(str(error)) from error


def make_family(env: str, options: dict[str, Any]) -> envs.TaskFamily:
    """``envs.make``, with a user's module found in the current folder too; built and checked once for the same arguments."""
    env, maker = _found(env)
    key = (env, maker, repr(sorted(options.items())))
    if key not in _FAMILIES:
        family = envs.make(env, **options)
        _FAMILIES.clear()
        _FAMILIES[key] = family
    return _FAMILIES[key]


_FAMILIES: dict[Any, envs.TaskFamily] = {}  # the newest


def maker_of(env: str) -> Any:
    """The class or function that makes a family, with a `UserError` where there is none."""
    try:
        return registration.imported(_found(env)[1])
    except ValueError as error:
        raise UserError(str(error)) from error


def _found(env: str) -> tuple[str, Any]:
    """An id by today's name of its module, and what it was registered with."""
    find_users_modules()
    module, colon, name = env.rpartition(":")
    env = f"{MOVED.get(module, module)}{colon}{name}"
    return env, registration.find(env)


def build(config: TrainConfig, *, family: envs.TaskFamily | None = None, task_map: TaskMap = ONE_BATCH) -> Built:
    """Build family and learner of resolved settings; ``family`` stands in for the configuration's.

    ``task_map`` is how training works on tasks: see `experiments.training.devices`.
    """
    trained_on = family_of(config)
    family = trained_on if family is None else family
    outer: dict[str, Any] = {}
    if "optimizer" in settings.declared(config.agent, KIND).uses:
        outer["outer_lr"] = schedule(config.outer_schedule, config.outer_lr, max(config.num_iterations, 1))
    of_world = {field.name: getattr(config, field.name) for field in dataclasses.fields(ReinforcementSettings)}
    try:
        learner = agents.make(
            config.agent,
            family,
            network=network_of(config),
            num_tasks=config.num_tasks,
            num_iterations=config.num_iterations,
            remat=config.remat,
            task_map=task_map,
            trained_on=trained_on,
            **outer,
            **of_world,
            **settings.own(config, KIND),
        )
    except (ValueError, OverflowError, MemoryError) as error:
        raise UserError(" ".join(str(error).split()) or "the settings need more memory than there is.") from error
    return Built(family, learner)


def network_of(config: Any) -> Any:
    """The user's own network that ``config.network`` names, or None."""
    if config.network is None:
        return None
    find_users_modules()
    try:
        return agents.find_network(config.network)
    except ValueError as error:
        raise UserError(str(error)) from error
