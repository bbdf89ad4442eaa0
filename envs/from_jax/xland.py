"""XLand-MiniGrid (Nikulin et al. 2024) as a family: rulesets are tasks. `from_xland`, `xland_rulesets`, `xland_scores`."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs.from_jax import suites
from envs.from_jax.family import JaxFamily, from_jax
from envs.options import is_number, one_of, whole_number

EPISODES = 25  # of the suite's evaluation on a task
MOST_TRIES = 100  # for one more ruleset that is another than all before


class XLand:
    """Reset and step of a grid, with the ruleset as task; the suite's time step is the state."""

    def __init__(self, env: Any, params: Any, num_tiles: int, num_colors: int, images: bool = False):
        self.env, self.params, self.sizes, self.images = env, params, (num_tiles, num_colors), images

    def reset(self, key, ruleset):
        timestep = self.env.reset(self.params.replace(ruleset=ruleset), key)
        return timestep, self.see(timestep)

    def step(self, key, timestep, action, ruleset):
        del key  # nothing happens by chance
        after = self.env.step(self.params.replace(ruleset=ruleset), timestep, action)
        return suites.of_types(after, timestep), self.see(after), after.reward, after.discount == 0.0

    def see(self, timestep):
        """Tiles and colours of the field of view as one-hot vectors, and the direction: float32 [O]; or the suite's picture."""
        if self.images:
            return suites.picture(timestep.observation)
        tiles, colors = (jax.nn.one_hot(timestep.observation[..., i], size) for i, size in enumerate(self.sizes))
        direction = jax.nn.one_hot(timestep.state.agent.direction, 4)
        return jnp.concatenate([jnp.concatenate([tiles, colors], -1).ravel(), direction])


def from_xland(
    id: str = "XLand-MiniGrid-R1-9x9",
    rulesets: Any = None,
    *,
    held_out: float = 0.2,
    seed: int = 0,
    horizon: int | None = None,
    images: bool = False,
) -> JaxFamily:
    """XLand-MiniGrid as a family: the task is a ruleset, of goal, rules and objects, which the agent does not see.

    Rulesets are shuffled and split by the suite's own ``shuffle`` and ``split``; evaluation goes through the held-out ones in
    order. An observation is the suite's field of view, tiles and colours as one-hot vectors, and the agent's direction. An
    episode ends where the goal is reached; the reward there is what the suite gives, 1 - 0.9 * steps / horizon.

    Args:
        id: one of ``xminigrid.registered_environments()`` that begins with XLand.
        rulesets: a benchmark of the suite, such as ``xminigrid.load_benchmark("trivial-1m")``, which downloads it, or
            `xland_rulesets`, whose 1,000 are the default.
        held_out: share of the rulesets that evaluation draws from.
        seed: of the shuffle.
        horizon: steps per episode; the suite's, 3 * height * width, if None.
        images: show the field of view as the suite draws it, bytes [height, width, 3] of 32 pixels per tile and without the
            direction, which agents read by convolutions. The suite draws its tiles once, which takes minutes, and keeps them
            in ``~/.xland_minigrid``.

    Raises:
        ValueError: one line; the suite is missing, or an argument is wrong.
    """
    suite = suites.suite("from_xland", "xland")
    known = [name for name in suite.registered_environments() if name.startswith("XLand")]
    one_of("from_xland", "id", id, known)
    if not is_number(held_out) or not 0.0 < held_out < 1.0:
        raise ValueError(f"from_xland: held_out is {held_out!r}, but must be a share between 0 and 1.")
    whole_number("from_xland", "seed", seed, 0)
    if horizon is not None:
        whole_number("from_xland", "horizon", horizon, 1)
    benchmark = xland_rulesets() if rulesets is None else rulesets
    if not hasattr(benchmark, "sample_ruleset"):
        raise ValueError(f"from_xland: rulesets is a {type(rulesets).__name__}, but must be a benchmark; see xland_rulesets.")
    train, test = benchmark.shuffle(jax.random.key(seed)).split(1.0 - held_out)
    if not train.num_rulesets() or not test.num_rulesets():
        raise ValueError(
            f"from_xland: held_out is {held_out!r} of {benchmark.num_rulesets()} rulesets, which leaves none on one side; take "
            "more rulesets."
        )
    env, params = suite.make(id) if horizon is None else suite.make(id, max_steps=horizon)
    constants = suites.module("xminigrid.core.constants")
    if images:
        env = suites.module("xminigrid.experimental.img_obs").RGBImgObservationWrapper(env)
    world = XLand(env, params, constants.NUM_TILES, constants.NUM_COLORS, images)
    family = from_jax(
        world.reset,
        world.step,
        train.sample_ruleset,
        params.max_steps,
        suites.seen(world.reset, jax.eval_shape(train.sample_ruleset, jax.random.key(0))) if images else _one_hot(world),
        spaces.Discrete(env.num_actions(params)),
        sample_held_out_task=test.sample_ruleset,
    )
    family.held_out_list = suites.module("xminigrid.types").RuleSet(test.goals, test.rules, test.init_tiles)
    return family


def _one_hot(world: XLand) -> spaces.Box:
    return spaces.Box(0.0, 1.0, (world.params.view_size**2 * sum(world.sizes) + 4,), np.float32)


def xland_rulesets(num: int = 1000, *, most_rules: int = 3, num_distractors: int = 2, seed: int = 0) -> Any:
    """Rulesets generated here, as a benchmark of the suite: no two are alike, and each can be solved.

    The goal is to hold an object, to stand beside one, or to put two side by side. What it needs lies there from the start or
    is made by a rule (hold, stand beside, put side by side) of other objects, and these again, up to ``most_rules`` rules in
    all; their number is uniform from 0. All objects of a ruleset differ. The suite's benchmarks come from such production
    trees, too, with more kinds of goals and rules; numbers on one are not numbers on the other.

    Args:
        num: number of rulesets.
        most_rules: rules of a ruleset, at most.
        num_distractors: objects that nothing needs.
        seed: the same seed gives the same rulesets.

    Returns:
        ``xminigrid.benchmarks.Benchmark``: goals uint8 [num, 5], rules uint8 [num, most_rules, 7] (at least one row),
        init_tiles uint8 [num, 2 + most_rules + num_distractors, 2].
    """
    for name, value, least in (("num", num, 1), ("most_rules", most_rules, 0), ("num_distractors", num_distractors, 0)):
        whole_number("xland_rulesets", name, value, least)
    whole_number("xland_rulesets", "seed", seed, 0)
    suites.suite("xland_rulesets", "xland")
    benchmarks = suites.module("xminigrid.benchmarks")
    constants = suites.module("xminigrid.core.constants")
    colors = np.arange(constants.Colors().RED, constants.NUM_COLORS)
    pairs = np.stack(np.meshgrid(np.asarray(constants.PICKABLE), colors), -1).reshape(-1, 2)  # [objects, 2]
    if len(pairs) < 2 + 2 * most_rules + num_distractors:
        raise ValueError(f"xland_rulesets: there are {len(pairs)} objects, too few for most_rules={most_rules}; take fewer.")
    rng, found = np.random.default_rng(seed), dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]]()
    tries = 0  # since the last new one
    while len(found) < num:
        goal, rules, objects = _ruleset(rng, pairs, most_rules, num_distractors)
        spelled = goal.tobytes() + rules.tobytes()
        tries = tries + 1 if spelled in found else 0
        found[spelled] = goal, rules, objects
        if tries == MOST_TRIES:
            raise ValueError(f"xland_rulesets: num is {num}, but {len(found)} different rulesets were found; take more rules.")
    tables = [jnp.asarray(np.stack(part)) for part in zip(*found.values(), strict=True)]
    return benchmarks.Benchmark(*tables, jnp.sum(tables[1][..., 0] > 0, axis=1))


def xland_scores(returns: Any) -> dict[str, float]:
    """The suite's two numbers of an evaluation: of each task's return over all its episodes, mean and 20th percentile.

    Args:
        returns: [M, N], of N episodes on each of M tasks; the suite plays 25, with the agent's memory kept between them.
            ``returns`` in ``evaluation.json`` of an agent with memory, evaluated with ``--num-steps 24``.

    >>> {name: round(value, 2) for name, value in xland_scores([[0.0, 1.0], [0.5, 1.0], [0.0, 0.0]]).items()}
    {'mean': 0.83, 'percentile_20': 0.4}
    """
    array = np.asarray(returns, float)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"xland_scores: returns has shape {array.shape}, but must be [tasks, episodes].")
    total = array.sum(axis=1)
    return {"mean": float(total.mean()), "percentile_20": float(np.percentile(total, 20))}


# Numbers by which the suite knows its goals and rules.
HOLD_GOAL, BESIDE_GOAL, TOGETHER_GOAL = 1, 3, 4
HOLD_RULE, BESIDE_RULE, TOGETHER_RULE = 1, 2, 3


def _ruleset(
    rng: np.random.Generator, pairs: np.ndarray, most_rules: int, num_distractors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Goal [5], rules [most_rules or 1, 7] and objects [2 + most_rules + num_distractors, 2] of one ruleset."""
    fresh = iter(rng.permutation(pairs))

    def needing(kind: int, two: bool) -> tuple[list[int], list[np.ndarray]]:
        inputs = [next(fresh) for _ in range(1 + two)]
        return [kind, *np.concatenate(inputs)], inputs

    kind = rng.choice([HOLD_GOAL, BESIDE_GOAL, TOGETHER_GOAL])
    goal, needed = needing(kind, kind == TOGETHER_GOAL)
    rules: list[Sequence[int]] = []
    for _ in range(rng.integers(most_rules + 1)):
        product = needed.pop(rng.integers(len(needed)))
        kind = rng.choice([HOLD_RULE, BESIDE_RULE, TOGETHER_RULE])
        rule, inputs = needing(kind, kind == TOGETHER_RULE)
        rules.append([*rule, *product])
        needed += inputs
    objects = [*needed, *(next(fresh) for _ in range(num_distractors))]
    return (
        _padded([goal], 1, 5)[0],
        _padded(rules, max(most_rules, 1), 7),
        _padded(objects, 2 + most_rules + num_distractors, 2),
    )


def _padded(rows: Sequence[Any], length: int, width: int) -> np.ndarray:
    """Rows of numbers with zeros behind and below, the suite's "nothing": uint8 [length, width]."""
    table = np.zeros((length, width), np.uint8)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table
