"""Finding and making the ordinary environment behind a family, with one line for whatever is wrong with it."""

import copy
import difflib
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import NormalizeObservation, NormalizeReward

from envs.from_gymnasium.spaces import Misshapen
from envs.from_gymnasium.worker import begin, items, measured
from envs.optional import EXTRAS, extra_of, install

Source = EnvSpec | Callable[..., gymnasium.Env]


def find(env: str | Callable[..., gymnasium.Env]) -> Source:
    """The specification behind an id, or the function itself."""
    if not isinstance(env, str):
        return env
    module, _, name = env.rpartition(":")
    extra = extra_of(name)
    module = module or (EXTRAS[extra][0] if extra and name not in gymnasium.registry else "")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            command = f"; {install(extra)}" if extra else ""
            raise ValueError(f"from_gymnasium: {env!r} needs the package {module} ({error}){command}.") from error
    if name not in gymnasium.registry:
        lower = {id.lower(): id for id in gymnasium.registry}
        close = [repr(lower[match]) for match in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
        hint = f"Did you mean {' or '.join(close)}?" if close else "Import the module that registers it, as in 'module:id'."
        raise ValueError(f"from_gymnasium: no Gymnasium environment {name!r}. {hint}")
    return gymnasium.registry[name]


def make(source: Source, options: Mapping[str, Any], render_mode: str | None = None) -> gymnasium.Env:
    """One environment. Of a registered one without its time limit, since the family's horizon stands in for it."""
    given = dict(options) if render_mode is None else {**options, "render_mode": render_mode}
    if isinstance(source, EnvSpec):
        return gymnasium.make(source, max_episode_steps=-1, disable_env_checker=True, **given)
    return source(**given)


def refuse_statistics(name: str, env: gymnasium.Env) -> None:
    """Refuse wrappers whose statistics go on from one episode to the next: an episode must follow from its seed."""
    wrapped = env
    while isinstance(wrapped, gymnasium.Wrapper):
        if isinstance(wrapped, NormalizeObservation | NormalizeReward):
            wrapper = type(wrapped).__name__
            raise ValueError(
                f"from_gymnasium: {name} is wrapped in {wrapper}, whose statistics change from episode to episode; leave it "
                "out, agents have --normalize-observations and --normalize-rewards of their own."
            )
        wrapped = wrapped.env


def try_out(name: str, source: Source, options: Mapping[str, Any], apply_task: Any, task: dict[str, Any]) -> gymnasium.Env:
    """Make one environment and begin an episode of one task, so that mistakes show before anything compiles."""
    try:
        with warnings.catch_warnings():
            # A stranger's import may touch what is deprecated; Box2D's crashes where such a warning is an error.
            warnings.simplefilter("ignore", DeprecationWarning)
            env = make(source, options)
    except Exception as error:  # whatever a stranger's constructor raises becomes one line
        extra = extra_of(_entry(source)) if isinstance(source, EnvSpec) else None
        if extra and isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled):
            raise ValueError(f"from_gymnasium: {name} needs a package that is missing; {install(extra)}.") from error
        raise ValueError(f"from_gymnasium: making {name} fails: {_line(error)}") from error
    if not isinstance(env, gymnasium.Env):
        raise ValueError(f"from_gymnasium: {name} made a {type(env).__name__}, but must make a gymnasium.Env.")
    try:
        refuse_statistics(name, env)
        if apply_task == "attributes":
            for field in task:
                if not hasattr(env.unwrapped, field):
                    raise ValueError(f"from_gymnasium: {name} has no attribute {field!r} to set from task_space.")
        if apply_task == "set_task" and not env.has_wrapper_attr("set_task"):
            raise ValueError(f"from_gymnasium: {name} has no method set_task.")
        try:
            begin(env, apply_task, task, seed=0)
        except Misshapen as error:
            raise ValueError(f"from_gymnasium: reset of {name} with task {task} gives {error}.") from error
        except Exception as error:
            raise ValueError(f"from_gymnasium: beginning {name} with task {task} fails: {_line(error)}") from error
    except ValueError:
        env.close()
        raise
    return env


def try_measures(name: str, env: gymnasium.Env, measures: tuple[str, ...]) -> None:
    """Take one step of an environment that has begun, and refuse info keys that it does not give."""
    if not measures:
        return
    try:
        action = copy.deepcopy(env.action_space).sample()  # a space may belong to the class, with its random numbers
        measured(measures, items(env.step(action), 5)[-1])
    except Misshapen as error:
        raise ValueError(f"from_gymnasium: step of {name} gives {error}.") from error
    except Exception as error:  # whatever a stranger's step raises becomes one line
        raise ValueError(f"from_gymnasium: a step of {name} fails: {_line(error)}") from error


def horizon_of(name: str, source: Source, env: gymnasium.Env) -> int:
    """The environment's own time limit."""
    spec = source if isinstance(source, EnvSpec) else env.spec
    if spec is None or spec.max_episode_steps is None:
        raise ValueError(f"from_gymnasium: {name} has no time limit of its own; give horizon, the steps of an episode.")
    return int(spec.max_episode_steps)


def can_draw(source: Source, env: gymnasium.Env) -> bool:
    """Whether the environment supports ``render_mode="rgb_array"``."""
    if "rgb_array" not in (env.metadata.get("render_modes") or ()):
        return False
    if isinstance(source, EnvSpec):
        return True
    try:
        inspect.signature(source).bind_partial(render_mode="rgb_array")
    except (TypeError, ValueError):
        return False
    return True


def warn_dropped(name: str, dropped: Sequence[str], expected: Sequence[str]) -> None:
    """One warning that names what agents will not see, unless it was expected."""
    surprising = [field for field in dropped if field not in expected]
    if surprising:
        fields = ", ".join(surprising)
        warnings.warn(
            f"from_gymnasium: agents do not see {fields} of {name}, which cannot be flattened to numbers; "
            f"drop={tuple(surprising)!r} says that you know.",
            stacklevel=3,
        )


def _entry(spec: EnvSpec) -> str:
    return spec.entry_point if isinstance(spec.entry_point, str) else ""


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
