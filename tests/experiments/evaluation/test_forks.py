"""What a program does with an agent in a forked child: an error that names spawn, where JAX would wait for ever."""

import multiprocessing

import jax
import numpy as np
import pytest

import agents
import envs
from envs.families.navigation import Navigation2D
from experiments import sinusoid, train
from experiments.evaluation import evaluate, restore, save, trained
from experiments.training import meta_train

CALLS = {
    "act": lambda agent, curve, actor, folder: agent.act(curve, [0.0, 0.0]),
    "an actor's act": lambda agent, curve, actor, folder: actor.act([0.0, 0.0]),
    "an actor's reset": lambda agent, curve, actor, folder: actor.reset(),
    "an actor's observe": lambda agent, curve, actor, folder: actor.observe(0.0, False),
    "another actor": lambda agent, curve, actor, folder: agent.actor(curve),
    "adapt": lambda agent, curve, actor, folder: agent.adapt(agent.family.default_params),
    "adapt_from": lambda agent, curve, actor, folder: agent.adapt_from([]),
    "evaluate": lambda agent, curve, actor, folder: evaluate(agent, num_tasks=2),
    "meta_train": lambda agent, curve, actor, folder: next(meta_train(agent.learner, 1)),
    "restore": lambda agent, curve, actor, folder: restore(folder, agent.family, agent.learner),
    "a command": lambda agent, curve, actor, folder: train.main(["--run-dir", str(folder / "run")]),
    "another command": lambda agent, curve, actor, folder: sinusoid.main(["--run-dir", str(folder / "run")]),
    "tasks": lambda agent, curve, actor, folder: envs.held_out_tasks(agent.family, 3),
    "a task": lambda agent, curve, actor, folder: envs.check_task(agent.family, agent.family.default_params),
    "a family": lambda agent, curve, actor, folder: envs.make("metarl/Navigation2D-v0"),
    "the checks of a family": lambda agent, curve, actor, folder: envs.check_task_family(agent.family),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """An agent that has adapted and acted here."""
    family = Navigation2D(horizon=3)
    learner = agents.make("maml", family, num_tasks=2, num_episodes=2, hidden_sizes=(4,))
    agent = trained(family, learner, learner.init(jax.random.key(0)))
    curve, folder = agent.adapt(family.default_params), tmp_path_factory.mktemp("forks") / "saved"
    save(agent, folder)
    actor = agent.actor(curve)
    actor.reset()
    assert np.isfinite(actor.act([0.0, 0.0])).all()
    return agent, curve, actor, folder


def report(call, played, line):
    try:
        call(*played)
        line.send("no error")
    except BaseException as error:
        line.send(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
def test_a_forked_child_that_uses_an_agent_says_so_and_does_not_hang(name, played):
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=report, args=(CALLS[name], played, there))
    child.start()
    try:
        assert here.poll(20), "it hangs"
        said = here.recv()
    finally:
        child.kill()
        child.join()
    assert said.startswith("RuntimeError: this process was forked from one that had used JAX") and "spawn" in said
