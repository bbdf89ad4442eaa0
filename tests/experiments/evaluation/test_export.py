"""Policies in files: readers that know none of our code give the actions that the agents give."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import linen as nn
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.spaces.utils import flatten

import agents
import envs
from envs.families.navigation import Goal, Navigation2D
from experiments import export as command
from experiments.cli.errors import UserError
from experiments.evaluation import export, load, trained
from experiments.evaluation.export import _choice
from tests.agents import spaces_probe
from tests.few import few

PAGE = (Path(__file__).parents[3] / "docs/export.md").read_text()
[READER] = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if code.startswith("# reader.py")]
ADAPTING = [
    name
    for name in agents.registered()
    if agents.find(name).adapts_by != "memory" and "reinforcement" in agents.find(name).serves
]
TASK = Goal(np.float32([0.3, -0.2]))


class Lopsided(Navigation2D):
    """Actions in a lopsided box of two axes, which policies have [-1, 1] for."""

    action_space = Box(np.float64([[-0.5, 0.0]]), np.float64([[1.0, 0.25]]), dtype=np.float64)
    unit_actions = True

    def transition(self, state, action, rng, params):
        return state + action[0].astype(np.float32)


class Hops(Navigation2D):
    """Four actions, counted from 1."""

    action_space = Discrete(4, start=1)

    def transition(self, state, action, rng, params):
        return state + 0.1 * jax.numpy.asarray([[1.0, 0], [0, 1], [-1, 0], [0, -1]])[action - 1]

    def reward(self, state, action, next_state, rng, params):
        return super().reward(state, jax.numpy.zeros(2), next_state, rng, params)


def made(name="maml", family=None, **settings):
    family = Navigation2D(4) if family is None else family
    learner = agents.make(name, family, num_tasks=2, num_episodes=3, **({"hidden_sizes": (8, 6)} | settings))
    return trained(family, learner, jax.jit(learner.init)(jax.random.key(0)))


def run_without_us(folder, program, *files):
    """Run a program in a process in which none of our packages, nor flax or distrax, can be imported; its JSON."""
    refuse = "import sys\nfor name in 'metarl envs agents experiments flax distrax'.split(): sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", refuse + program, *map(str, files)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reader_of(path):
    """The reader of the docs on a file, as a module of its own."""
    names = {}
    exec(compile(READER, "reader.py", "exec"), names)
    return names, names["load"](path)


def observations(family, number=20):
    return np.random.default_rng(0).uniform(-2, 2, (number, *family.observation_space.shape)).astype(np.float32)


def assert_reads_alike(agent, path, actor):
    """Distribution and greedy action of many observations, beside the actor's."""
    reader, policy = reader_of(path)
    actor.reset()
    seen = observations(agent.family)
    np.testing.assert_allclose(reader["act"](policy, seen), np.stack([actor.act(each) for each in seen]), rtol=1e-5, atol=1e-5)
    acting = agent.learner.acting
    _, given = jax.vmap(lambda x: acting.respond(actor._params, actor._memory, x))(seen)
    ours = reader["distribution"](policy, seen)
    if isinstance(given, dict):
        np.testing.assert_allclose(ours[0], given["mean"], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(np.broadcast_to(ours[1], ours[0].shape), np.exp(given["log_std"]), rtol=1e-5)
    else:
        np.testing.assert_allclose(ours, given, rtol=1e-5, atol=1e-5)
    return reader, policy


def test_the_reader_is_short_and_imports_numpy_alone():
    lines = [line for line in READER.splitlines() if line.strip()]
    assert len(lines) <= 36 and re.findall(r"^(?:import|from) (\w+)", READER, re.MULTILINE) == ["numpy"]


@pytest.mark.parametrize("name", few(ADAPTING, "maml", "anil", "cavia", "imaml", "oracle"))
def test_arrays_of_every_agent_without_memory(name, tmp_path):
    """Before adaptation, and after it, which is another policy unless the agent adapts to nothing."""
    agent = made(name)
    curve = agent.adapt(TASK, num_steps=2)
    found = []
    for file, step in (("before.npz", 0), ("after.npz", 2)):
        _, policy = assert_reads_alike(agent, export(agent, tmp_path / file, after=curve, step=step), agent.actor(curve, step))
        found.append(policy["biases_0"])
        assert policy["num_steps"] == step
    if name not in ("oracle", "anil", "multitask"):  # of the latter two the head alone
        assert not np.array_equal(*found)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        (Lopsided(4), {"activation": "relu"}),
        (Lopsided(4), {"action_scale": 10.0, "hidden_sizes": ()}),
        (Hops(4), {}),
        (Navigation2D(4), {"normalize_observations": True}),
    ],
    ids=["lopsided", "scaled", "discrete", "normalised"],
)
def test_units_normalisation_and_kinds_of_actions(family, settings, tmp_path):
    agent = made(family=family, **settings)
    if settings.get("normalize_observations"):
        step = jax.jit(agent.learner.step)
        state, _ = step(agent.state, jax.random.key(1))
        agent = trained(family, agent.learner, state)
        assert float(np.abs(state.theta["seen"].variance - 1).max()) > 0.1
    reader, policy = assert_reads_alike(agent, export(agent, tmp_path / "p.npz"), agent.actor())
    many = reader["act"](policy, np.zeros((3000, 2), np.float32), np.random.default_rng(0))
    space = agent.family.action_space
    assert many.dtype == (np.int64 if isinstance(space, Discrete) else space.dtype) and space.contains(many[0])
    assert len(np.unique(many, axis=0)) >= 4
    if "std" not in policy:
        logits = reader["distribution"](policy, np.zeros(2))
        shares = np.bincount(many, minlength=5)[1:] / len(many)
        np.testing.assert_allclose(shares, np.exp(logits) / np.exp(logits).sum(), atol=0.05)


def test_arrays_of_a_policy_adapted_to_recorded_episodes(tmp_path):
    agent = made()
    actor = agent.actor(greedy=False, record=True)
    for _ in range(2):
        actor.reset()
        for each in observations(agent.family, 4):
            actor.act(each)
            actor.observe(1.0, False)
    adapted = agent.adapt_from(actor.episodes())
    _, policy = assert_reads_alike(agent, export(agent, tmp_path / "p.npz", after=adapted), adapted.actor())
    assert policy["num_steps"] == 1 and not np.array_equal(policy["biases_0"], np.zeros(8))


def test_arrays_are_read_where_there_is_nothing_but_numpy(finished_run, tmp_path):
    command.main(["--run-dir", str(finished_run), "--out", str(tmp_path / "new/p.npz"), "--task", '{"position": [0.3, -0.2]}'])
    (tmp_path / "reader.py").write_text(READER)
    program = (
        "sys.modules['jax'] = None\nimport json, reader\np = reader.load('new/p.npz')\n"
        "print(json.dumps([reader.act(p, [0.1, 0.2]).tolist(), str(p['agent']), str(p['env']), int(p['iteration'])]))"
    )
    action, *about = run_without_us(tmp_path, program)
    agent = load(finished_run)
    np.testing.assert_allclose(action, agent.act(agent.adapt(TASK), [0.1, 0.2]), atol=1e-5)
    assert about == ["maml", "metarl/Navigation2D-v0", 4]


def test_a_reader_refuses_another_version(tmp_path):
    reader, policy = reader_of(export(made(), tmp_path / "p.npz"))
    np.savez(tmp_path / "other.npz", **policy | {"format_version": 2})
    with pytest.raises(ValueError, match="has format 2"):
        reader["load"](tmp_path / "other.npz")


@pytest.mark.parametrize("name", ["several discrete", "table of discrete", "bits", "one number"])
def test_arrays_of_other_spaces(name, tmp_path):
    family = spaces_probe.family(name)
    agent, space = made(family=family), family.action_space
    actor = agent.actor()
    actor.reset()
    reader, policy = reader_of(export(agent, tmp_path / "p.npz"))
    as_read = lambda x: x if isinstance(family.observation_space, Box) else flatten(family.observation_space, x)
    seen = np.stack([as_read(each) for each in family.shown])
    for action, each in zip(reader["act"](policy, seen), family.shown, strict=True):
        np.testing.assert_allclose(action, actor.act(each), rtol=1e-5, atol=1e-5)
    drawn = reader["act"](policy, np.repeat(seen[:1], 4000, axis=0), np.random.default_rng(0))
    assert drawn.dtype == space.dtype and space.contains(np.asarray(drawn[0]) if space.shape == () else drawn[0])
    if name == "bits":
        acting = agent.learner.acting
        _, logits = acting.respond(*acting.begin(agent.state, None), seen[0])
        np.testing.assert_allclose(drawn.mean(axis=0).ravel(), jax.nn.sigmoid(logits), atol=0.04)


def test_what_is_drawn_with_noise_has_the_policy_s_probabilities():
    """Of entries with values of their own number, and of bits."""
    logits, many = jax.random.normal(jax.random.key(0), (5,)), 8000
    for space, draw in ((MultiDiscrete([2, 3]), jax.random.gumbel), (MultiBinary(5), jax.random.logistic)):
        choose, noise, _ = _choice(space, logits)
        drawn, _ = jax.vmap(choose, (None, 0))(logits, draw(jax.random.key(1), (many, *noise.shape)))
        if isinstance(space, MultiBinary):
            expected = [1 / (1 + np.exp(-np.asarray(logits)))]
            found = [np.mean(drawn, axis=0)]
        else:
            expected = [np.exp(part) / np.exp(part).sum() for part in (logits[:2], logits[2:])]
            found = [np.bincount(column, minlength=len(p)) / many for column, p in zip(drawn.T, expected, strict=True)]
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=0.03)


@pytest.mark.parametrize(("name", "space"), [("maml", "nested"), ("rl2", "nested"), ("maml", "image")])
def test_a_program_takes_and_gives_what_the_environment_does(name, space, tmp_path):
    pytest.importorskip("flatbuffers")
    family = spaces_probe.family(space)
    agent = made(name, family)
    path = export(agent, tmp_path / "p", format="stablehlo")
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    arguments, _ = jax.tree.unflatten(program.in_tree, [np.zeros(like.shape, like.dtype) for like in program.in_avals])
    *memory, _, noise = arguments[:3] if name == "rl2" else arguments
    actor, begins = agent.actor(), np.int32(2)
    actor.reset()
    for observation in family.shown[:3]:
        compiled = jax.tree.map(lambda x: np.asarray(x, jax.dtypes.canonicalize_dtype(np.asarray(x).dtype)), observation)
        given = (compiled, noise)
        if name == "rl2":
            found, action, _ = program.call(*memory, *given, np.float32(0.5), np.bool_(False), begins)
            memory, begins = [found], np.int32(0)
        else:
            action, _ = program.call(*given)
        theirs = actor.act(observation)
        actor.observe(0.5, False)
        assert jax.tree.structure(action) == jax.tree.structure(theirs)
        for ours, other in zip(jax.tree.leaves(action), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-5)
    told = json.loads((tmp_path / "p.json").read_text())
    assert told["noise"] == ("Gumbel" if space == "image" else ["normal", "Gumbel", "Gumbel", "logistic"])


CALL = """
import json, jax.export, numpy as np
program = jax.export.deserialize(open(sys.argv[1], "rb").read())
given = [np.float32(x) for x in json.load(open(sys.argv[2]))]
noise = np.zeros(program.in_avals[1].shape, np.float32)
found = [program.call(x.astype(program.in_avals[0].dtype), noise) for x in given]
noisy = program.call(given[0].astype(program.in_avals[0].dtype), noise + np.float32(0.5))
print(json.dumps(jax.tree.map(lambda x: np.asarray(x).tolist(), {"found": found, "noisy": noisy})))
"""


def own_network(num_outputs):
    return nn.Sequential([nn.Dense(7), nn.swish, nn.LayerNorm(), nn.Dense(num_outputs)])


@pytest.mark.parametrize(
    ("family", "settings"),
    [(Lopsided(4), {"action_scale": 2.0}), (Hops(4), {"network": own_network, "hidden_sizes": (8,)})],
    ids=["gaussian", "own network"],
)
def test_a_program_is_run_where_there_is_nothing_but_jax(family, settings, tmp_path):
    pytest.importorskip("flatbuffers")
    agent = made(family=family, **settings)
    curve, seen = agent.adapt(TASK, num_steps=1), observations(family, 5)
    path = export(agent, tmp_path / "p.stablehlo", after=curve, format="stablehlo")
    (tmp_path / "given.json").write_text(json.dumps(seen.tolist()))
    found = run_without_us(tmp_path, CALL, path, tmp_path / "given.json")
    for each, (action, _) in zip(seen, found["found"], strict=True):
        np.testing.assert_allclose(action, agent.act(curve, each), rtol=1e-5, atol=1e-5)
    action, shown = found["noisy"]
    if "mean" in shown:
        output = np.float32(shown["mean"]) + 0.5 * np.float32(shown["std"])
        np.testing.assert_allclose(action, agent.learner.to_action(output), rtol=1e-5, atol=1e-5)
    else:
        assert action == 1 + int(np.argmax(shown["logits"]))
    beside = json.loads((tmp_path / "p.stablehlo.json").read_text())
    assert beside["results"] == ["action", "distribution"] and beside["arguments"]["observation"] == "float32[2]"


WITH_MEMORY = [(name, family) for name in ("rl2", "varibad") for family in (Navigation2D, Hops)]


@pytest.mark.parametrize(("name", "family"), few(WITH_MEMORY, ("rl2", Navigation2D), ("rl2", Hops)))
@pytest.mark.parametrize("episodes_before", [0, 1])
def test_a_program_with_memory_plays_as_the_actor_does(name, family, episodes_before, tmp_path):
    """Two episodes of other lengths, from a fresh memory and from one that has seen an episode."""
    family = family(4)
    pytest.importorskip("flatbuffers")
    agent = made(name, family, memory_size=5)
    curve = agent.adapt(TASK, num_steps=1)
    path = export(agent, tmp_path / "p", after=curve, step=episodes_before, format="stablehlo")
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    actor = agent.actor(curve, episodes_before)
    *memory, _, noise, _, _, _ = (np.ones(like.shape, like.dtype) for like in program.in_avals)
    reward, terminated, seen, actions = np.float32(9), np.bool_(True), observations(family, 6), []
    for i, observation in enumerate(seen):
        begins = {0: 2, 4: 1}.get(i, 0)
        if begins:
            actor.reset()
        memory, action, _ = program.call(memory, observation, 0 * noise, reward, terminated, np.int32(begins))
        theirs = actor.act(observation)
        np.testing.assert_allclose(np.asarray(action), theirs, rtol=1e-5, atol=1e-5)
        reward, terminated = np.float32(i), np.bool_(i == 3)
        actor.observe(reward, terminated)
        actions.append(theirs)
    if not isinstance(family.action_space, Discrete):
        again, _, _ = program.call(memory, seen[0], 0 * noise, reward, terminated, np.int32(2))
        assert len(again) == len(memory)


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (lambda: made("rl2", memory_size=5), "acts by a memory, which format npz does not hold; write it with format"),
        (lambda: made(network=own_network), "no MLP of dense layers, and format npz holds no other; write it with format"),
        (lambda: made("oracle"), "this agent sees the task, and acts in none without"),
        (lambda: made(family=spaces_probe.family("image")), "no MLP of dense layers, and format npz holds no other"),
        (lambda: made(family=spaces_probe.family("nested")), "actions have parts, which format npz does not hold; write it"),
    ],
    ids=["memory", "own network", "no task", "convolutions", "parts"],
)
def test_what_arrays_cannot_hold_is_said_in_one_line(agent, said, tmp_path):
    with pytest.raises(UserError) as error:
        export(agent(), tmp_path / "p.npz")
    assert said in str(error.value) and "\n" not in str(error.value) and not (tmp_path / "p.npz").exists()


def test_arrays_that_would_give_other_actions_are_not_written(tmp_path):
    """A network with the layers of an MLP and another activation between them."""

    class MLP(nn.Module):
        num_outputs: int

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.num_outputs)(nn.swish(nn.Dense(8)(x)))

    with pytest.raises(UserError, match="no MLP of dense layers"):
        export(made(network=MLP), tmp_path / "p.npz")


def test_what_is_missing_for_a_program_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    with pytest.raises(UserError, match="flatbuffers is not installed: pip install"):
        export(made(), tmp_path / "p", format="stablehlo")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--out", "p.npz"], "give a run in --run-dir, or an agent that comes with metarl in --pretrained; one of them"),
        (["--out", "p.npz", "--run-dir", "RUN", "--num-steps", "2"], "--num-steps is 2, but there is no --task"),
        (["--out", "p.npz", "--run-dir", "RUN", "--task", "{"], "--task is {: Expecting property name"),
        (["--out", "p.npz", "--run-dir", "RUN", "--task", '{"position": [1.0]}'], "has shape (1,), but must have (2,)"),
        (["--out", "RUN", "--run-dir", "RUN"], "a folder; give a file"),
        (["--out", "p.npz", "--run-dir", "RUN", "--format", "onnx"], "known: npz, stablehlo"),
        (["--run-dir", "RUN"], "--out is missing"),
    ],
)
def test_the_command_refuses_in_one_line(flags, said, finished_run, error_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [str(finished_run) if word == "RUN" else word for word in flags]
    assert said in error_of(command.main, *flags)
    assert not (tmp_path / "p.npz").exists()


def test_one_that_comes_with_metarl(tmp_path):
    pytest.importorskip("mujoco")
    command.main(["--pretrained", "HalfCheetahDir/promp", "--out", str(tmp_path / "p.npz")])
    from experiments.evaluation import shipped

    agent = shipped.pretrained("HalfCheetahDir/promp")
    _, policy = assert_reads_alike(agent, tmp_path / "p.npz", agent.actor())
    assert policy["action_scale"] == 10 and envs.held_out_tasks(agent.family, 1) is not None


def test_the_page_runs(finished_run, tmp_path, monkeypatch):
    """Its commands, but for the robot's, and its programs, in the order given."""
    pytest.importorskip("flatbuffers")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/maml-0").symlink_to(finished_run)
    commands = re.findall(r"^python -m experiments\.export (.*)$", PAGE, re.MULTILINE)
    for flags in commands[:2]:
        command.main(shlex.split(flags))
    (tmp_path / "reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    agent = load(finished_run)
    actor = agent.actor(greedy=False, record=True)
    actor.reset()
    actor.act([0.0, 0.0])
    actor.observe(0.0, True)
    names = {"task": TASK, "actor": actor, "observation": np.zeros(2)}
    *programs, with_memory = (code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if code != READER)
    for code in programs:
        exec(compile(code, "export.md", "exec"), names)
    assert names["action"].shape == (2,) and {path.name for path in tmp_path.glob("*.npz")} == {
        "policy.npz",
        "adapted.npz",
        "recorded.npz",
    }
    path = export(made("rl2", memory_size=5), "rl2", format="stablehlo")
    names["program"] = jax.export.deserialize(bytearray(path.read_bytes()))
    exec(compile(with_memory, "export.md", "exec"), names)
    assert isinstance(names["memory"], list)
