"""Evaluated run folders written by hand: what compare reads, without training."""

import json

import numpy as np

EPISODES = {"gradient": [0, 20, 40], "memory": [0, 1, 2], "nothing": [0, 0, 0]}
ENV = "my<worlds>:my/Env-v0"


def write_run(folder, agent, seed, *, adapts_by="gradient", hurt=0, raised=0.0, **settings):
    """A run whose first ``hurt`` of 8 tasks get worse by adaptation, all ``raised``; returns its returns [8, K+1]."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    episodes = EPISODES[adapts_by]
    returns = raised - 50 + 10.0 * np.arange(len(episodes)) + rng.normal(size=(8, len(episodes)))
    returns[:hurt, 1:] -= 100
    result = {"env": ENV, "agent": agent, "seed": seed, "num_tasks": 8, "episodes": episodes, "task_hash": "same"}
    result |= {"adapts_by": adapts_by, "returns": returns.tolist(), "gain_se": np.ones_like(returns).tolist()}
    if adapts_by != "gradient":
        result["greedy_returns"] = (returns + 1).tolist()
    config = {"script": "train", "wandb_id": "x", "settings": {"agent": agent, "seed": seed, "env": ENV, **settings}}
    config |= {"git_commit": "0123456789abcdef+", "versions": {"jax": "0.10.2"}, "device": {"kind": "cpu", "count": 1}}
    lines = [
        {"iteration": i, "meta/pre": -50.0, "meta/post": -50.0 + i + seed, "time/env_steps": 100 * i, "time/seconds": 0.5 * i}
        | {"time/steps_per_second": 2000 + i}
        for i in range(1, 40)
    ]
    (folder / "evaluation.json").write_text(json.dumps(result))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return returns
