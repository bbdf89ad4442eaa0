"""Sweeps: every combination of some settings is trained, those that differ in numbers alone as one program."""

import dataclasses
import difflib
import itertools
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from agents.agent import Kind, hyperparameters
from experiments.cli.errors import UserError
from experiments.cli.flags import flag
from experiments.runs.folder import CONFIG, EVALUATION, EXECUTION, NOT_SETTINGS, write_json
from experiments.runs.seed_folders import seed_folders
from experiments.runs.sweep_folder import SWEEP, WRITTEN, combination_folders, folder_name, shown
from experiments.training.seeds import Swept
from experiments.training.session import one_per_seed
from experiments.training.settings import changed, common, declared, flat, own, swept_name
from metarl.interfaces import MetaLearner

# What decides on other flags, or on what a run is compared with: a command of its own for each value.
ONE_COMMAND_EACH = (
    *NOT_SETTINGS,
    *EXECUTION,
    *EVALUATION,
    *("agent", "env", "network", "seed", "seeds", "start_from", "num_iterations", "checkpoint_every", "log_every"),
    *("protocol", "data", "problem", "ways", "test_shots", "env_options", "train_tasks", "distinct_tasks", "held_out_tasks"),
)


class Combination(NamedTuple):
    """One of a sweep.

    Attributes:
        values: setting -> value.
        config: the settings of its run, or of its runs with --seeds; ``run_dir`` is its own folder.
    """

    values: dict[str, Any]
    config: Any


def read(config: Any, kind: Kind) -> dict[str, list[Any]]:
    """``config.sweep`` as setting -> values.

    Raises:
        UserError: no such setting, one that cannot be swept, or a value that it cannot have.
    """
    hints = typing.get_type_hints(type(config))
    of_agent = hyperparameters(declared(config.agent, kind), kind)
    of_runs = {name: hints[name] for name in flat(config, kind) if name in hints}
    kinds = of_runs | {name: of_agent[name].type for name in own(config, kind)}
    found: dict[str, list[Any]] = {}
    for word in config.sweep:
        name = swept_name(word)
        _, equals, values = word.partition("=")
        if not equals or not values.strip():
            raise UserError(f"--sweep is {word!r}, but must be NAME=VALUE,VALUE, such as inner_lr=0.05,0.1.")
        if name not in kinds:
            close = difflib.get_close_matches(name, set(kinds) - set(ONE_COMMAND_EACH), n=1, cutoff=0.6)
            hint = f"did you mean {close[0]}?" if close else "--help lists them."
            raise UserError(f"--sweep {word}: {config.agent} has no setting {name}; {hint}")
        if name in ONE_COMMAND_EACH:
            raise UserError(f"--sweep {word}: {name} cannot be swept; give each value a command of its own, with {flag(name)}.")
        if name in found:
            raise UserError(f"--sweep names {name} twice; give all of its values in one.")
        found[name] = [_value(kinds[name], each.strip(), word) for each in values.split(",")]
        folders = [folder_name({name: value}) for value in found[name]]
        twice = [value for i, value in enumerate(found[name]) if folders[i] in folders[:i]]
        if twice:
            raise UserError(f"--sweep {word}: {shown(twice[0])} stands there twice; leave one out.")
    return found


def _value(kind: Any, text: str, word: str) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    if typing.get_origin(kind) is tuple:
        return tuple(_value(typing.get_args(kind)[0], each, word) for each in text.split())
    if typing.get_origin(kind) is typing.Literal:
        known = {str(each): each for each in typing.get_args(kind)}
    else:
        known = {"True": True, "False": False} if kind is bool else {}
    if known:
        if text not in known:
            raise UserError(f"--sweep {word}: {text!r} is no value of it; known: {', '.join(known)}.")
        return known[text]
    try:
        return kind(text)
    except ValueError:
        wanted = "whole number" if kind is int else "number"
        raise UserError(f"--sweep {word}: {text!r} is no {wanted}; values are divided by commas.") from None


def combinations(config: Any, kind: Kind, values: dict[str, list[Any]]) -> list[Combination]:
    """All of them, each with a folder of its own in that of ``config``."""
    found = []
    for each in itertools.product(*values.values()):
        chosen = dict(zip(values, each, strict=True))
        folder = config.run_dir / folder_name(chosen)
        found.append(Combination(chosen, changed(config, kind, **chosen, sweep=(), run_dir=folder)))
    return found


def sweep(
    config: Any,
    kind: Kind,
    *,
    resolve: Callable[[Any], Any],
    learner_of: Callable[[Any], MetaLearner],
    train: Callable[[Any, list[Any], Sequence[str]], None],
) -> None:
    """Train every combination of ``config.sweep``.

    Args:
        config: the settings of all, with ``sweep``; each combination is a folder in its ``run_dir``.
        kind: of world.
        resolve: refuses bad settings, and fills in what depends on others.
        learner_of: resolved settings -> the learner; numbers among them may be traced.
        train: (settings of all, those of the runs that one program trains, names of the settings that are inputs of that
            program) -> trains, evaluates and writes the runs.

    Raises:
        UserError: a setting or value that cannot be swept, or a folder that holds something else.
    """
    values = read(config, kind)
    found = combinations(config, kind, values)
    found = [each._replace(config=resolve(each.config)) for each in found]
    for each in found:  # refuses what cannot be before any of them begins
        learner_of(each.config)
        one_per_seed(each.config)
    _prepare(config, kind, values, found)
    programs = list(in_programs(found, _numbers(found, values), kind, learner_of))
    runs = f"{len(found)} combinations" + ("" if config.seeds is None else f" of {config.seeds} seeds each")
    print(f"sweep: {runs}, in {len(programs)} program{'s' * (len(programs) > 1)}.", flush=True)
    for together, names in programs:
        train(config, [_begun(run) for each in together for run in one_per_seed(each.config)], names)


def _numbers(found: list[Combination], values: dict[str, list[Any]]) -> list[str]:
    """The settings that are numbers, and no counts, in every combination."""
    return [name for name in values if all(type(each.values[name]) is float for each in found)]


def in_programs(
    found: list[Combination], numbers: Sequence[str], kind: Kind, learner_of: Callable[[Any], MetaLearner]
) -> Iterator[tuple[list[Combination], Sequence[str]]]:
    """Combinations that one program can train, and the settings that are its inputs.

    A setting whose value decides what the program is, or that is looked at while it is made, parts them.
    """
    groups: dict[str, list[Combination]] = {}
    for each in found:
        groups.setdefault(repr([value for name, value in each.values.items() if name not in numbers]), []).append(each)
    for together in groups.values():
        first = together[0].config
        fixed = looked_at(first, kind, numbers, learner_of) if len(together) > 1 else []
        if fixed:
            said = ", ".join(fixed)
            print(f"sweep: {first.agent} decides by the value of {said}, so each value has a program of its own.", flush=True)
            yield from in_programs(together, [name for name in numbers if name not in fixed], kind, learner_of)
        else:
            yield together, numbers if len(together) > 1 else ()


def looked_at(config: Any, kind: Kind, names: Sequence[str], learner_of: Callable[[Any], MetaLearner]) -> list[str]:
    """Those of the named settings whose value is needed while the program is made, and which no program can have as input.

    Every combination was made before, so whatever fails now fails because the value is not known: a comparison, a look-up.
    """

    def fails(names: Sequence[str]) -> bool:
        def once(numbers: dict[str, Any], key: jax.Array) -> Any:
            learner = learner_of(changed(config, kind, **numbers))
            return learner.step(learner.init(key), key)

        try:
            jax.eval_shape(once, {name: np.float32(0.5) for name in names}, jax.random.key(0))
        except (TypeError, ValueError, LookupError, UserError):  # JAX's own, and those of agents of one's own
            return True
        return False

    return [name for name in names if fails([name])] if names and fails(names) else []


def swept_of(runs: Sequence[Any], kind: Kind, names: Sequence[str], learner_of: Callable[[Any], MetaLearner]) -> Swept | None:
    """The numbers in which runs of one program differ; None if they do in none."""
    if not names:
        return None
    settings = [common(each) | own(each, kind) for each in runs]
    numbers = {name: np.asarray([each[name] for each in settings], np.float32) for name in names}
    return Swept(lambda given: learner_of(changed(runs[0], kind, **given)), numbers)


def _prepare(config: Any, kind: Kind, values: dict[str, list[Any]], found: list[Combination]) -> None:
    """Refuse a folder that this sweep cannot have, and write its sweep.json."""
    parent = config.run_dir
    if parent.exists() and not parent.is_dir():
        raise UserError(f"{parent} is a file; give another --run-dir.")
    if (parent / CONFIG).exists() or seed_folders(parent):
        raise UserError(f"{parent} holds runs without --sweep; leave it out, or give another --run-dir.")
    names = {each.config.run_dir.name for each in found}
    strange = sorted({path.name for path in parent.iterdir()} - names - {*WRITTEN}) if parent.is_dir() else []
    if strange:
        raise UserError(f"{parent} holds {strange[0]}, which is not of this sweep; give another --run-dir.")
    if config.resume and not (parent / SWEEP).is_file():
        raise UserError(f"--resume: {parent} holds no sweep; leave out --resume to start one.")
    if config.resume and config.overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one.")
    if combination_folders(parent) and not (config.resume or config.overwrite):
        raise UserError(f"{parent} already holds a sweep; add --resume to continue it or --overwrite to replace it.")
    first = config.seed
    last = first + (config.seeds or 1) - 1
    for each in found:
        seeds = seed_folders(each.config.run_dir)
        if seeds and (config.seeds is None or not first <= min(seeds) <= max(seeds) <= last):
            raise UserError(f"{each.config.run_dir} holds other seeds; give those in --seed and --seeds, or another --run-dir.")
    parent.mkdir(parents=True, exist_ok=True)
    about = {name: list(each) for name, each in values.items()}
    write_json(parent / SWEEP, {"sweep": about, "settings": _of_all(config, kind, found)})


def _of_all(config: Any, kind: Kind, found: list[Combination]) -> dict[str, Any]:
    """The settings that a resumed sweep begins from: what all combinations have or, where they differ, what was asked for."""
    first, *others = [flat(each.config, kind) for each in found]
    asked = flat(config, kind)
    alike = {name: value for name, value in first.items() if all(other[name] == value for other in others)}
    return asked | {name: value for name, value in alike.items() if name not in ("run_dir", "sweep")}


def _begun(run: Any) -> Any:
    """Where a sweep is resumed, a run of it that was never begun begins now."""
    return dataclasses.replace(run, resume=run.resume and (run.run_dir / CONFIG).is_file())
