"""Agents stepped by hand do what they did in the compiled sampler: the same episodes from the same keys, in any environment."""

import functools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import agents
import envs
from envs.families.navigation import Navigation2D
from envs.from_gymnasium.family import seed_of
from experiments.cli.errors import UserError
from experiments.evaluation import trained
from experiments.evaluation.actor import NEXT_EPISODE
from tests.few import few

NAMES = [name for name in agents.registered() if "reinforcement" in agents.find(name).serves]
TRIALS = ("rl2", "varibad", "pearl", "oracle")
NUM_EPISODES, HORIZON = 3, 4


class Drift(Navigation2D):
    """Chance in starts, moves and ends; actions in a lopsided box, which the family leaves to be obeyed by whoever acts."""

    action_space = Box(np.array([-0.5, 0.0], np.float32), np.array([1.0, 0.25], np.float32))

    def initial(self, rng, params):
        return jax.random.uniform(rng, (2,), jnp.float32, -0.3, 0.3)

    def transition(self, state, action, rng, params):
        return state + 0.2 * action + 0.05 * jax.random.normal(rng, (2,), jnp.float32)

    def reward(self, state, action, next_state, rng, params):
        return super().reward(state, jnp.zeros(2), next_state, rng, params) - jnp.sum(action**2)

    def terminal(self, state, rng, params):
        return jax.random.bernoulli(rng, 0.2)


class Hops(Drift):
    """The same with three actions, counted from 1."""

    action_space = Discrete(3, start=1)

    def transition(self, state, action, rng, params):
        return super().transition(state, jnp.asarray([[0.5, 0.0], [0.0, 0.5], [-0.5, 0.0]])[action - 1], rng, params)

    def reward(self, state, action, next_state, rng, params):
        return super().reward(state, jnp.asarray(action, jnp.float32)[None], next_state, rng, params)


class Sheet(gymnasium.Env):
    """A stranger's environment: actions [1, 2] in float64, lopsided bounds; observes a dictionary."""

    observation_space = gymnasium.spaces.Dict({"place": Box(-9.0, 9.0, (2,)), "side": Discrete(2)})
    action_space = Box(np.array([[0.1, -3.0]]), np.array([[0.7, 9.1]]), dtype=np.float64)
    pull = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return self.seen(), {}

    def seen(self):
        return {"place": self.place, "side": int(self.place[0] > 0)}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.place = np.clip(self.place + 0.1 * action[0].astype(np.float32) - self.pull, -9, 9).astype(np.float32)
        return self.seen(), -float(np.abs(self.place).sum()), False, False, {}


class Doors(Sheet):
    """The same with actions counted from 2."""

    action_space = Discrete(3, start=2)

    def step(self, action):
        assert self.action_space.contains(action), action
        self.place = np.clip(self.place + 0.1 * (int(action) - 3), -9, 9).astype(np.float32)
        return self.seen(), -float(np.abs(self.place).sum()), False, False, {}


def of_stranger(make):
    return envs.from_gymnasium(make, task_space={"pull": Box(0.0, 0.1, ())}, apply_task="attributes", horizon=HORIZON)


@functools.cache
def agent_on(name, make_family, **settings):
    """An agent that stands somewhere else than at its start; its family is that of ``keyed``."""
    family = keyed(make_family).family
    settings = {"num_tasks": 2, "num_episodes": NUM_EPISODES, "hidden_sizes": (8,)} | settings
    learner = agents.make(name, family, **settings)
    state = jax.jit(learner.init)(jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(1), 100))
    moved = lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape, x.dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
    return trained(family, learner, state._replace(theta=jax.tree.map(moved, state.theta)))


def drift():
    return Drift(horizon=HORIZON)


def hops():
    return Hops(horizon=HORIZON)


sheet, doors = functools.partial(of_stranger, Sheet), functools.partial(of_stranger, Doors)


class Keyed(envs.TaskEnv):
    """The ordinary environment, begun with a key of the sampler's in the place of a seed."""

    def begun(self, key, task):
        self.reset(seed=0, options={"task": task})
        self.begin(key)
        return self._seen()


@functools.cache
def keyed(make_family):
    return Keyed(make_family())


def play(actor, env, observation, observe=lambda observation: observation):
    """One episode by hand: what was seen, taken by the environment and paid."""
    seen, taken, paid, over = [], [], [], False
    while not over:
        action = actor.act(observation)
        assert env.action_space.contains(action), action
        seen.append(np.asarray(observe(observation)))
        taken.append(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        actor.observe(reward, terminated, truncated)
        paid.append(reward)
        over = terminated or truncated
    return np.stack(seen), np.stack(taken), np.array(paid)


def same(played, trajectory, to_action):
    """As the sampler recorded it, up to rounding and to the end."""
    length = int(np.sum(trajectory.mask))
    assert len(played[2]) == length
    np.testing.assert_allclose(played[0], trajectory.observation[:length], atol=1e-4)
    np.testing.assert_allclose(played[1], to_action(trajectory.action)[:length], atol=1e-4)
    np.testing.assert_allclose(played[2], trajectory.reward[:length], atol=1e-4, rtol=1e-4)


@functools.cache
def adapting(learner, num_steps):
    return jax.jit(lambda state, task, key: learner.adapt(state, task, key, num_steps))


def sampled(agent, name, task, num_steps=1, key=7):
    """The curve, its first episode after each number of steps [K+1], and the keys that these were played with."""
    curve = adapting(agent.learner, num_steps)(agent.state, task, jax.random.key(key))
    support, query = jax.device_get(curve.experience)
    batches = [jax.tree.map(lambda x, k=k: x[k], support).trajectory for k in range(num_steps)] + [query.trajectory]
    first, second = jax.random.split(jax.random.key(key))
    if name in TRIALS:  # trials, of sampled and of greedy actions
        trial = jax.random.split(first, NUM_EPISODES)[0]
        keys = [jax.random.fold_in(trial, 0 if name == "oracle" else e) for e in range(num_steps + 1)]
    else:  # batches of the inner steps, and the query's
        keys = [jax.random.split(jax.random.fold_in(first, k), NUM_EPISODES)[0] for k in range(num_steps)]
        keys += [jax.random.split(second, NUM_EPISODES)[0]]
    return curve, [jax.tree.map(lambda x: x[0], batch) for batch in batches], keys


CASES = [(name, drift, {}) for name in NAMES]
CASES += [(name, hops, {}) for name in ("maml", "cavia", "rl2", "varibad", "oracle")]
CASES += [(name, drift, {"action_scale": 10.0, "normalize_observations": True}) for name in ("promp", "rl2")]
CASES += [(name, family, {}) for name in ("maml", "rl2") for family in (sheet, doors)]


FAST = [(name, drift, {}) for name in ("cavia", "oracle")] + [(name, hops, {}) for name in ("maml", "rl2")]
FAST += [case for case in CASES if case[1] not in (drift, hops) or case[2]]


@pytest.mark.parametrize(("name", "make_family", "settings"), few(CASES, *FAST))
def test_by_hand_it_plays_the_sampler_s_episodes(name, make_family, settings):
    """Sampled actions, the task set when the environment is reset."""
    agent = agent_on(name, make_family, **settings)
    task = agent.family.sample_task(jax.random.key(5))
    curve, episodes, keys = sampled(agent, name, task)
    env, to_action = keyed(make_family), agent.learner.to_action
    after = agent.actor(curve, greedy=False)
    after.reset(seed=keys[-1])
    same(play(after, env, env.begun(keys[-1], task)), episodes[-1], to_action)
    if name in TRIALS:  # lives through all episodes, without a curve
        trial = jax.random.split(jax.random.split(jax.random.key(7))[0], NUM_EPISODES)[0]
        actor = agent.actor(task=task, greedy=False, seed=trial)
        for key, episode in zip(keys, episodes, strict=True):
            actor.reset(seed=key)
            same(play(actor, env, env.begun(key, task)), episode, to_action)
    elif agents.find(name).adapts_by == "gradient":
        before = agent.actor(curve, 0, greedy=False)
        before.reset(seed=keys[0])
        same(play(before, env, env.begun(keys[0], task)), episodes[0], to_action)


@pytest.mark.parametrize("name", ["maml", "rl2"])
@pytest.mark.parametrize("make_family", [sheet, doors])
def test_the_stranger_s_own_environment_takes_what_it_gives(name, make_family):
    """The same in the environment that the family was made of, whose observations it reads and whose actions it gives."""
    agent = agent_on(name, make_family)
    task = agent.family.sample_task(jax.random.key(5))
    curve, episodes, keys = sampled(agent, name, task)
    env = gymnasium.wrappers.TimeLimit(Sheet() if make_family is sheet else Doors(), HORIZON)
    env.unwrapped.pull = float(task["pull"])
    actor = agent.actor(curve, greedy=False)
    actor.reset(seed=keys[-1])
    observation, _ = env.reset(seed=int(seed_of(jax.random.split(keys[-1], 3)[0])))
    flat = agent.family.read_observation
    same(play(actor, env, observation, flat), episodes[-1], agent.learner.to_action)


@pytest.mark.parametrize("make_family", [drift, hops, sheet, doors])
@pytest.mark.parametrize("greedy", [False, True])
def test_fifty_actions_lie_in_the_space_of_the_environment(make_family, greedy):
    agent = agent_on("maml", make_family)
    space = {sheet: Sheet.action_space, doors: Doors.action_space}.get(make_family, agent.family.action_space)
    actor, observation = agent.actor(greedy=greedy), agent.family.observation_space.sample()
    actor.reset()
    actions = [actor.act(observation) for _ in range(50)]
    assert all(space.contains(action) for action in actions)
    curve = agent.adapt(agent.family.default_params)
    assert space.contains(agent.act(curve, observation)) and space.contains(agent.act(curve, observation, step=0))
    assert (len({np.asarray(action).tobytes() for action in actions}) == 1) == greedy


FROM_OUTSIDE = ["maml", "meta-sgd", "cavia", "anil", "maml++", "promp", "pretrained", "imaml"]


@pytest.mark.parametrize("name", few(FROM_OUTSIDE, "maml", "cavia", "imaml"))
def test_adapting_to_episodes_played_by_hand_is_adapting(name):
    """Inner steps on what a user collected give the parameters that they have in the sampler."""
    agent = agent_on(name, drift, test_step_scale=(1.0, 0.5))
    task, key = agent.family.sample_task(jax.random.key(5)), jax.random.key(7)
    one_batch = agents.find(name).adapts_by == "one batch"
    steps = 5 if one_batch else 2
    path = adapting(agent.learner, steps)(agent.state, task, key).path
    env, adapted = keyed(drift), agent
    for k in range(1 if one_batch else 2):
        source = jax.random.split(key)[0]
        actor = adapted.actor(greedy=False, record=True)
        for each in jax.random.split(source if one_batch else jax.random.fold_in(source, k), NUM_EPISODES):
            actor.reset(seed=each)
            play(actor, env, env.begun(each, task))
        adapted = adapted.adapt_from(actor.episodes())
        assert adapted.num_steps == k + 1
        expected = jax.tree.map(lambda x, k=k: x[steps if one_batch else k + 1], path)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-3), adapted.params, expected)
    start = jax.tree.leaves(jax.tree.map(lambda x: x[0], path))
    assert any(not np.allclose(a, b, atol=1e-3) for a, b in zip(jax.tree.leaves(adapted.params), start, strict=True))
    with pytest.raises(UserError, match="on one batch" if one_batch else "was played after 1 inner steps"):
        adapted.adapt_from(actor.episodes())


def another(part, change):
    """Episodes of which one has another part."""
    return lambda episodes: [episodes[0], episodes[1]._replace(**{part: change(getattr(episodes[1], part))})]


WRONG = {
    "reward, cut": (another("reward", lambda x: x[:-1]), r"episode 1: observation has shape \(4, 2\), .* record \(3, 2\)"),
    "reward, a column": (another("reward", lambda x: x[:, None]), r"episode 1: reward has shape \(4, 1\)"),
    "no reward": (another("reward", lambda x: x[:0]), "episode 1: observation|episode 1 has no steps"),
    "action, one number": (another("action", lambda x: x[:, :1]), r"action has shape \(4, 1\), .* record \(4, 2\)"),
    "action, words": (another("action", lambda x: "left"), "action is 'left', which no actor"),
    "observation": (another("observation", lambda x: x[:, :1]), r"observation has shape \(4, 1\)"),
    "log_prob": (another("log_prob", lambda x: x[:, None]), r"log_prob has shape \(4, 1\)"),
    "log_prob, nan": (another("log_prob", lambda x: x * np.nan), "episode 1 has a log_prob that is not finite"),
    "reward, infinite": (another("reward", lambda x: x + np.inf), "episode 1 has a reward that is not finite"),
    "distribution": (another("distribution", lambda x: None), "distribution is None, which no actor"),
    "distribution, nan": (another("distribution", lambda x: {k: v * np.nan for k, v in x.items()}), "not finite"),
    "terminated": (another("terminated", lambda x: x[:2]), r"terminated has shape \(2,\)"),
    "a dictionary": (lambda episodes: [episodes[0]._asdict()], "must be a list of what Actor.episodes"),
}


@functools.cache
def two_episodes():
    class Long(Drift):
        def terminal(self, state, rng, params):
            return False

    agent = agent_on("maml", drift)
    env = envs.TaskEnv(Long(horizon=HORIZON), agent.family.default_params)
    actor = agent.actor(greedy=False, record=True)
    for seed in range(2):
        actor.reset()
        play(actor, env, env.reset(seed=seed)[0])
    return actor.episodes()


@pytest.mark.parametrize("case", WRONG)
def test_episodes_that_no_actor_recorded_are_refused(case):
    """Arrays of other shapes would be broadcast to a wrong loss."""
    change, message = WRONG[case]
    with pytest.raises(UserError, match=message) as refused:
        agent_on("maml", drift).adapt_from(change(two_episodes()))
    assert "\n" not in str(refused.value)


def test_episodes_from_a_file():
    """As lists, and in other types of numbers."""
    agent, episodes = agent_on("maml", drift), two_episodes()
    plain = [jax.tree.map(lambda x: x.tolist() if isinstance(x, np.ndarray) else x, episode) for episode in episodes]
    wide = [jax.tree.map(lambda x: x.astype(np.float64) if np.ndim(x) else x, episode) for episode in episodes]
    for same in (plain, wide, tuple(episodes)):
        given, again = agent.adapt_from(episodes).params, agent.adapt_from(same).params
        jax.tree.map(np.testing.assert_array_equal, given, again)


def test_a_memory_reads_episodes_played_by_hand():
    """And goes on as the actor that lived through them."""
    agent = agent_on("rl2", drift)
    task = agent.family.sample_task(jax.random.key(5))
    curve, episodes, keys = sampled(agent, "rl2", task, num_steps=2)
    actor, env = agent.actor(greedy=False, record=True), keyed(drift)
    for key in keys[:2]:
        actor.reset(seed=key)
        play(actor, env, env.begun(key, task))
    adapted = agent.adapt_from(actor.episodes())
    assert adapted.num_steps == 2
    np.testing.assert_allclose(adapted.memory[0], curve.path["memory"][2], atol=1e-5)
    after = adapted.actor(greedy=False)
    after.reset(seed=keys[2])
    same(play(after, env, env.begun(keys[2], task)), episodes[2], agent.learner.to_action)


@pytest.mark.parametrize("name", ["maml", "rl2"])
def test_a_batch_plays_as_many_by_themselves(name):
    """Through Gymnasium's vector environments, which begin anew on the step after an end."""
    agent = agent_on(name, drift)
    task, copies, seed = agent.family.sample_task(jax.random.key(5)), 3, 11
    many = envs.TaskVectorEnv(agent.family, copies, task)
    actor = agent.actor(greedy=False, batch=copies, record=True)
    observation, _ = many.reset(seed=seed)
    actor.reset(seed=seed)
    for _ in range(4 * HORIZON):
        action = actor.act(observation)
        assert many.action_space.contains(action)
        observation, reward, terminated, truncated, _ = many.step(action)
        actor.observe(reward, terminated, truncated)
    whole = [episode for episode in actor.episodes() if episode.over]
    assert len(whole) >= 3 * copies and len({len(episode.reward) for episode in whole}) > 1
    env, checked = keyed(drift), 0
    for copy in range(copies):
        alone, key = agent.actor(greedy=False, record=True), jax.random.key(seed + copy)
        for _ in range(3):
            alone.reset(seed=key)
            play(alone, env, env.begun(key, task))
            key = jax.random.fold_in(key, NEXT_EPISODE)
        for episode in alone.episodes():
            equal = [
                other
                for other in whole
                if len(other.reward) == len(episode.reward) and np.allclose(other.observation, episode.observation, atol=1e-4)
            ]
            assert len(equal) == 1
            np.testing.assert_allclose(equal[0].action, episode.action, atol=1e-4)
            np.testing.assert_allclose(equal[0].reward, episode.reward, atol=1e-4)
            np.testing.assert_array_equal(equal[0].terminated, episode.terminated)
            checked += 1
    assert checked == 3 * copies


def test_asked_twice_the_first_answer_was_not_given():
    """Memory and time are those of the second; a cut at the horizon is a cut, however often it was asked before."""
    agent = agent_on("rl2", drift)
    asked, once = agent.actor(), agent.actor()
    observation = np.array([0.1, 0.2], np.float32)
    for actor in (asked, once):
        actor.reset(seed=3)
    for t in range(HORIZON):
        asked.act(-observation)
        np.testing.assert_array_equal(asked.act(observation), once.act(observation))
        for actor in (asked, once):
            actor.observe(1.0, False, t + 1 == HORIZON)
    for actor in (asked, once):
        actor.reset()
    np.testing.assert_array_equal(asked.act(observation), once.act(observation))


def test_environments_that_begin_anew_at_once():
    """``reset(where=...)`` of some copies leaves the others where they are; each goes on as one by itself."""
    agent = agent_on("rl2", drift)
    actor, ends, lasts = agent.actor(batch=2), agent.actor(), agent.actor()
    observation = np.array([[0.1, 0.2], [0.3, -0.1]], np.float32)
    for each in (actor, ends, lasts):
        each.reset()
    for _ in range(2):
        both = actor.act(observation)
        np.testing.assert_allclose(both[0], ends.act(observation[0]), atol=1e-6)
        np.testing.assert_allclose(both[1], lasts.act(observation[1]), atol=1e-6)
        actor.observe([0.0, 0.5], [True, False])
        ends.observe(0.0, True)
        lasts.observe(0.5, False)
        actor.reset(where=np.array([True, False]))
        ends.reset()


def test_it_is_compiled_once():
    """However often it is asked, and for however many actors."""
    agent = agent_on("rl2", drift)
    traced = []

    def respond(*given):
        traced.append(1)
        return agent.learner.acting.respond(*given)

    counting = agent.learner._replace(acting=agent.learner.acting._replace(respond=respond))
    again = trained(agent.family, counting, agent.state)
    for seed in range(2):
        actor = again.actor(greedy=False, seed=seed)
        for _ in range(2):
            actor.reset()
            for _ in range(3):
                actor.act([0.1, 0.2])
                actor.observe(0.5, False)
    assert len(traced) == 1


def test_seeds():
    """One seed, one episode; episodes of an actor differ, and so do actors."""
    agent = agent_on("maml", drift)

    def first(actor, **seed):
        actor.reset(**seed)
        return actor.act([0.1, 0.2]).tolist()

    one, other = agent.actor(greedy=False), agent.actor(greedy=False, seed=1)
    found = [first(one), first(one), first(other), first(one, seed=1)]
    assert found[0] != found[1] and found[0] != found[2] and found[2] == found[3]
    assert first(agent.actor(greedy=False)) == found[0]


def begun(agent, **how):
    actor = agent.actor(**how)
    actor.reset()
    return actor


def acted(agent, batch=None):
    actor = begun(agent, batch=batch)
    actor.act(np.zeros((*([batch] if batch else []), 2)))
    return actor


REFUSED = {
    "act before reset": (lambda agent: agent.actor().act([0.0, 0.0]), "act: no episode; call reset"),
    "observe before act": (lambda agent: begun(agent).observe(0.0, False), "there is no action that this came of"),
    "shape": (lambda agent: begun(agent).act([0.0]), r"has shape \(1,\), but must have \(2,\)"),
    "words": (lambda agent: begun(agent).act("left"), "the observation is 'left', but must be numbers"),
    "nan": (lambda agent: begun(agent).act([0.0, np.nan]), r"the observation is nan at place \[1\]"),
    "batch": (lambda agent: agent.actor(batch=0), "batch is 0"),
    "a batch in words": (lambda agent: agent.actor(batch="2"), "batch is '2', but must be a whole number"),
    "greedy in words": (lambda agent: agent.actor(greedy="no"), "greedy is 'no', but must be True or False"),
    "no curve": (lambda agent: agent.actor([0.0]), r"curve is \[0.0\], but must be what agent.adapt\(task\) gives"),
    "no curve to act on": (lambda agent: agent.act([0.0, 0.0], 1), "act takes a curve, as .* got list first"),
    "no reward": (lambda agent: acted(agent).observe(None, False), "reward is None, which is not finite"),
    "nan reward": (lambda agent: acted(agent).observe(np.nan, False), "reward is nan, which is not finite"),
    "rewards": (lambda agent: acted(agent).observe([1.0, 2.0], False), r"reward is \[1.0, 2.0\], but must be one number"),
    "terminated in words": (lambda agent: acted(agent).observe(0.0, "no"), "terminated is 'no', but must be True or False"),
    "terminated as number": (
        lambda agent: acted(agent).observe(0.0, False, 0.5),
        "truncated is 0.5, but must be True or False",
    ),
    "ends of another batch": (
        lambda agent: acted(agent, batch=2).observe(0.0, [True] * 3),
        r"terminated is \[True, True, True\], but must be 2 truth values",
    ),
    "batch of observations": (lambda agent: begun(agent, batch=2).act([0.0, 0.0]), r"must have \(2, 2\)"),
    "where": (lambda agent: begun(agent).reset(where=np.array([True])), "plays in a single environment"),
    "where of a batch": (lambda agent: begun(agent, batch=2).reset(where=[True]), "must be 2 truth values"),
    "seed": (lambda agent: begun(agent).reset(seed=-1), "seed is -1"),
    "greedy data": (lambda agent: agent.actor(record=True), "agents adapt to sampled actions"),
    "nothing recorded": (lambda agent: agent.actor().episodes(), "nothing is recorded"),
    "no episodes": (lambda agent: agent.adapt_from([]), "at least one"),
    "no list": (lambda agent: agent.adapt_from(3), "list"),
    "step": (lambda agent: agent.actor(agent.adapt(agent.family.default_params), 2), "step is 2, but the curve has 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as refused:
        call(agent_on("maml", drift))
    assert "\n" not in str(refused.value)


def test_an_episode_that_is_over():
    actor = begun(agent_on("maml", drift))
    actor.act([0.0, 0.0])
    actor.observe(0.0, True)
    with pytest.raises(UserError, match="the episode is over; call reset"):
        actor.act([0.0, 0.0])


def test_what_was_refused_leaves_an_actor_as_it_was():
    """It waits for what really came, and its memory has seen none of the other."""
    agent = agent_on("rl2", drift)
    told, once = begun(agent), begun(agent)
    for actor in (told, once):
        actor.act([0.1, 0.2])
    for reward, terminated in ((np.nan, False), (np.inf, False), (1.0, "no"), ("one", False)):
        with pytest.raises(UserError):
            told.observe(reward, terminated)
    for actor in (told, once):
        actor.observe(1.0, False)
    np.testing.assert_array_equal(told.act([0.3, 0.2]), once.act([0.3, 0.2]))


def test_rewards_of_copies_that_begin_anew_are_not_looked_at():
    actor = acted(agent_on("maml", drift), batch=2)
    actor.observe([0.0, 0.0], [True, False])
    actor.act(np.zeros((2, 2)))
    actor.observe([np.nan, 0.0], [False, False])
    actor.act(np.zeros((2, 2)))
    with pytest.raises(UserError, match="not finite"):
        actor.observe([np.nan, 0.0], [False, False])


def test_agents_that_remember_or_see_the_task_say_what_they_need():
    rl2, oracle = agent_on("rl2", drift), agent_on("oracle", drift)
    task = rl2.family.default_params
    with pytest.raises(UserError, match="step it with an actor"):
        rl2.act(rl2.adapt(task), [0.0, 0.0])
    with pytest.raises(UserError, match="this agent sees the task"):
        oracle.actor()
    with pytest.raises(UserError, match="does not adapt"):
        oracle.adapt_from([])
    with pytest.raises(ValueError, match=r"task.position has shape"):
        rl2.actor(task=type(task)(jnp.zeros(3)))


@pytest.mark.parametrize("name", ["maml", "rl2"])
def test_by_hand_it_earns_what_evaluation_says(name):
    """Over chance of one's own: the mean return of many copies, within four standard errors."""
    agent, copies = agent_on(name, drift), 256
    task = agent.family.sample_task(jax.random.key(5))
    many = agents.make(name, agent.family, num_tasks=2, num_episodes=copies, hidden_sizes=(8,))
    said = jax.jit(many.adapt, static_argnums=3)(agent.state, task, jax.random.key(3), 0).score[0]
    actor, env = agent.actor(greedy=False, batch=copies), envs.TaskVectorEnv(agent.family, copies, task)
    observation, _ = env.reset(seed=1)
    actor.reset(seed=1)
    total, live = np.zeros(copies), np.ones(copies, bool)
    while live.any():
        observation, reward, terminated, truncated, _ = env.step(actor.act(observation))
        actor.observe(reward, terminated, truncated)
        total += live * reward
        live &= ~(terminated | truncated)
    assert abs(total.mean() - said) < 4 * np.sqrt(2) * total.std() / np.sqrt(copies)
