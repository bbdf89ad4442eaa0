"""An environment's spaces: observations as flat float32 for agents, and actions on their way back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from envs.values import SIMPLE, arrays_of, joined, parts


class Misshapen(ValueError):
    """An environment gives something of another shape than it said; the message begins with what it gives."""


class Observed(NamedTuple):
    """An environment's observation -> [O] float32; leaves out fields that cannot be numbers or are not to be seen.

    Attributes:
        space: of the environment, without those fields; a Tuple that has lost some is a Dict of the others by their numbers.
        size: O.
        dropped: names of the fields left out because they cannot be numbers.
        whole: whether no field was left out.
    """

    space: spaces.Space
    size: int
    dropped: tuple[str, ...]
    whole: bool

    def __call__(self, observation: Any) -> np.ndarray:
        """Flatten one observation.

        Raises:
            Misshapen: it, or a field of it, has another shape than its space.
        """
        _refuse_misshapen(self.space, observation, "")
        if isinstance(self.space, spaces.Box):  # most environments; gymnasium's general function takes longer
            return np.asarray(observation, np.float32).reshape(-1)
        if not self.whole:
            observation = _without(self.space, observation)
        return np.asarray(spaces.utils.flatten(self.space, observation), np.float32)


def _refuse_misshapen(space: spaces.Space, value: Any, path: str) -> None:
    # Nobody else asks: NumPy broadcasts [1] to [1, 1, 1], and flattening makes up for one field with another.
    what = f"observation{path}" if path else "an observation"
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            _refuse_misshapen(part, _item(value, name), f"{path}[{name!r}]")
    elif isinstance(space, spaces.Tuple):
        if len(value) != len(space.spaces):
            raise Misshapen(f"{what} of {len(value)} items, expected {len(space.spaces)}")
        for i, part in enumerate(space.spaces):
            _refuse_misshapen(part, value[i], f"{path}[{i}]")
    elif space.shape is not None and np.shape(value) != space.shape:
        raise Misshapen(f"{what} of shape {np.shape(value)}, expected {space.shape}")


def observed(name: str, space: spaces.Space, drop: Sequence[str] = ()) -> Observed:
    """How observations of ``space`` are flattened, without the fields that ``drop`` names.

    Raises:
        ValueError: nothing of it can be, or ``drop`` names what it does not have.
    """
    known = list(_fields(space, ""))
    for field in drop:
        if field not in known:
            has = f"its fields: {', '.join(known)}" if known else f"its observations have no fields: {space}"
            raise ValueError(f"from_gymnasium: drop names {field!r}, but {name} has no such observation field; {has}.")
    left = _left(space, "", drop)
    if left is None:
        raise ValueError(f"from_gymnasium: drop names every observation field of {name}; leave agents something to see.")
    kept, dropped = _numbers(left, "")
    if kept is None:
        raise ValueError(f"from_gymnasium: {name} has observation_space {space}, which cannot be flattened to numbers.")
    flat = spaces.utils.flatten_space(kept)
    return Observed(kept, int(np.prod(flat.shape or (1,))), tuple(dropped), whole=kept == space)


def flat_space(observed: Observed) -> spaces.Box:
    """The Box [O] float32 of flattened observations."""
    flat = spaces.utils.flatten_space(observed.space)
    assert isinstance(flat, spaces.Box)
    low, high = (np.asarray(bound, np.float32).reshape(observed.size) for bound in (flat.low, flat.high))
    return spaces.Box(low, high, dtype=np.float32)


def image_space(name: str, observed: Observed) -> spaces.Box:
    """The environment's own Box of several axes; ValueError if it has another space."""
    space = observed.space
    if not isinstance(space, spaces.Box) or len(space.shape) < 2:
        raise ValueError(f"from_gymnasium: images is True, but {name} has observation_space {space}; leave it out.")
    if not np.issubdtype(space.dtype, np.floating) and space.dtype.itemsize > 2:  # float32 on the way holds up to 2^24
        raise ValueError(
            f"from_gymnasium: images is True, but {name} has observations of {space.dtype}; bytes or floats will do."
        )
    return space


def _inside(space: spaces.Space) -> dict[str, spaces.Space]:
    """The parts of a Dict by name, of a Tuple by number; none of another space."""
    if isinstance(space, spaces.Dict):
        return dict(space.spaces)
    return {str(i): part for i, part in enumerate(space.spaces)} if isinstance(space, spaces.Tuple) else {}


def _of(space: spaces.Space, kept: Mapping[str, spaces.Space]) -> spaces.Space | None:
    """A Dict or Tuple with these parts alone; None without any."""
    if dict(kept) == _inside(space):
        return space
    return spaces.Dict(dict(kept)) if kept else None


def _item(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else value[int(name)]


def _fields(space: spaces.Space, path: str) -> Iterator[str]:
    """Names of all fields, those of fields as "outer.inner", and of the items of a Tuple as "outer.0"."""
    for name, part in _inside(space).items():
        field = f"{path}.{name}" if path else name
        yield field
        yield from _fields(part, field)


def _left(space: spaces.Space, path: str, drop: Sequence[str]) -> spaces.Space | None:
    """What is left of a space without these fields; None if nothing is."""
    if path in drop:
        return None
    inside = _inside(space)
    if not inside:
        return space
    parts = {name: _left(part, f"{path}.{name}" if path else name, drop) for name, part in inside.items()}
    return _of(space, {name: part for name, part in parts.items() if part is not None})


def _numbers(space: spaces.Space, path: str) -> tuple[spaces.Space | None, list[str]]:
    """What is left of a space without fields that cannot be flattened, and the names of those."""
    inside = _inside(space)
    if inside:
        kept, dropped = {}, []
        for name, part in inside.items():
            left, lost = _numbers(part, f"{path}.{name}" if path else name)
            dropped += lost
            if left is not None:
                kept[name] = left
        return _of(space, kept), dropped
    try:
        if isinstance(space, spaces.Text):  # codes of letters would pass, and mean nothing
            raise NotImplementedError
        if isinstance(spaces.utils.flatten_space(space), spaces.Box):
            return space, []
    except NotImplementedError:
        pass
    return None, [path or "observation"]


def _without(space: spaces.Space, observation: Any) -> Any:
    """An observation without what its space has lost."""
    if isinstance(space, spaces.Dict):
        return {name: _without(part, _item(observation, name)) for name, part in space.spaces.items()}
    return observation  # a Tuple is whole, or would be a Dict


def suitable_actions(name: str, space: spaces.Space) -> spaces.Space:
    """The environment's own action space; ValueError if no policy acts in it."""
    for path, part in parts(space):
        if not isinstance(part, SIMPLE) or (isinstance(part, spaces.Box) and not np.issubdtype(part.dtype, np.floating)):
            which = f"{part} as action_space{path}" if path else f"action_space {space}"
            raise ValueError(
                f"from_gymnasium: {name} has {which}, but agents act in Discrete and Box spaces of floats, MultiDiscrete, "
                "MultiBinary, and Dict and Tuple of these."
            )
    return space


def action_record(space: spaces.Space, horizon: int) -> np.ndarray:
    """An empty record of an episode's actions, [horizon, ...]; those with parts are kept as their numbers in a row."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return np.zeros((horizon, sum(_sizes(space))))
    return np.zeros((horizon, *(space.shape or ())), space.dtype)


def action_rows(space: spaces.Space, actions: Any, batch: int) -> np.ndarray:
    """Actions of B episodes, with axes in front that make B, as they are recorded: [B, ...]."""
    if not isinstance(space, spaces.Dict | spaces.Tuple):
        return np.asarray(actions, space.dtype).reshape(batch, *(space.shape or ()))
    leaves = arrays_of(space, actions)
    return np.concatenate([np.asarray(leaf, np.float64).reshape(batch, -1) for leaf in leaves], axis=1)


def _sizes(space: spaces.Space) -> list[int]:
    return [int(np.prod(part.shape or ())) for _, part in parts(space)]


def read_actions(space: spaces.Space, actions: np.ndarray) -> Any:
    """Actions [B, ...], as they are recorded, as the environment takes them; what lies outside its range is clipped."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        columns = np.split(actions, np.cumsum(_sizes(space))[:-1], axis=1)
        read = [read_actions(part, column) for (_, part), column in zip(parts(space), columns, strict=True)]
        return [joined(space, iter([each[i] for each in read])) for i in range(len(actions))]
    if isinstance(space, spaces.Discrete):
        return actions.reshape(-1).astype(np.int64).tolist()
    if not isinstance(space, spaces.Box):
        return actions.reshape(-1, *(space.shape or ())).astype(space.dtype)
    clipped = np.clip(actions.reshape(-1, *space.shape).astype(space.dtype), space.low, space.high)
    return clipped if space.shape else [np.asarray(number) for number in clipped]  # an array, as Gymnasium has one number


def _finite(space: spaces.Box) -> np.ndarray:
    return np.isfinite(space.low) & np.isfinite(space.high)


def read_task_space(argument: str, space: Any, owner: str = "from_gymnasium") -> spaces.Dict:
    """A Dict of Box and Discrete that can be sampled uniformly; ValueError names what cannot."""
    if isinstance(space, Mapping) and not isinstance(space, spaces.Space):
        space = dict(space)
        space = spaces.Dict(space) if all(isinstance(part, spaces.Space) for part in space.values()) else space
    if not isinstance(space, spaces.Dict) or not space.spaces:
        raise ValueError(f"{owner}: {argument} is {space!r}, but must be a gymnasium Dict of Box and Discrete spaces.")
    for name, part in space.spaces.items():
        if isinstance(part, spaces.Box):
            if not _finite(part).all():
                raise ValueError(f"{owner}: {argument}[{name!r}] is {part}; give it finite bounds.")
        elif not isinstance(part, spaces.Discrete):
            raise ValueError(f"{owner}: {argument}[{name!r}] is {part}, but must be a Box or Discrete.")
    return space


def outside(space: spaces.Dict, tasks: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """For each field, its name and which of B tasks, leaves [B, ...], lie outside its space."""
    for name, part in space.spaces.items():
        values = tasks[name]
        if isinstance(part, spaces.Discrete):
            good = (values >= part.start) & (values < part.start + part.n)
        else:
            assert isinstance(part, spaces.Box)
            good = (values >= part.low.astype(np.float32)) & (values <= part.high.astype(np.float32))
        yield name, ~good.reshape(len(values), -1).all(axis=1)
