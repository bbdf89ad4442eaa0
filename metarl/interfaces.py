"""The types that cross rooms.

Axis letters, always in this order: M tasks, K inner steps, N episodes or shots, T time; then features. Functions are written
for one task (or one trajectory) and vmapped by their caller.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

Key = jax.Array
Tree = Any  # any pytree of arrays
Params = Tree  # what a network reads
Theta = Tree  # the meta-parameters: network parameters, learned step sizes, ...
Fast = Tree  # what moves during adaptation
Path = Tree  # what is read after 0..K inner steps, network parameters where steps are gradients: leaves [K+1, ...]
Task = Tree
Batch = Tree
Metrics = dict[str, jax.Array]


def known(number: Any) -> bool:
    """Whether a number can be looked at while a program is made: not if it is an input of that program, as in a sweep.

    >>> known(0.1)
    True
    >>> jax.eval_shape(lambda rate: print(known(rate)), 0.1)
    False
    """
    return not isinstance(number, jax.core.Tracer)


def unchanged(value: Any) -> Any:
    """The action, or observation, itself."""
    return value


class Experience(NamedTuple):
    """The data of one task's inner loop; vmapped over M.

    Attributes:
        support: K batches, leaves [K, N, ...]; batch k was drawn with the parameters after k inner steps.
        query: one batch, leaves [N, ...], drawn with the parameters after K inner steps.
    """

    support: Batch
    query: Batch


class Outcome(NamedTuple):
    """What episodes of one task gave: means over N.

    Attributes:
        score: mean return.
        measures: name -> mean of what else the family measures.
    """

    score: jax.Array
    measures: Metrics


class Problem(NamedTuple):
    """How to draw data for a task, and what loss that data gives.

    Attributes:
        sample_batch: (params, task, key) -> Batch. Never differentiated; supervised problems ignore ``params``.
        inner_loss: (params, batch) -> (scalar, metrics). Differentiated twice.
        outer_loss: (path, experience) -> (scalar, metrics), ``path`` being the network parameters after 0..K inner steps.
            Differentiated once. It sees the whole path and the whole experience because MAML++ (a loss after every step),
            E-MAML (support log-probs) and ProMP (KL on the inner steps) need them; `metarl.meta.final` lifts a plain loss.
            Its metrics hold ``score`` [K+1] (the return, or the negative loss, after 0..K inner steps), ``num_samples``
            (environment steps, or examples, drawn) and, where scores are noisy, ``gain_error`` [K+1], the standard error of
            each score minus the first; see `metarl.gains`. Where the family measures anything else, ``measures/NAME`` [K+1].
        sample_query: like ``sample_batch``, for the query batch; None when the query is drawn like the support.
        step_losses: (path, experience) -> ([K] losses after 1..K inner steps, metrics), for multi-step outer losses.
        divergence: (path, experience) -> [K+1], mean KL from the policy that drew support batch k to that after k steps of
            ``path``, over that batch's states; last that of the query batch. Zero where the path is the one that drew them.
        evaluate: (params, task, key) -> (outcome, outcome of acting greedily, standard error of the first's score), on fresh
            data.
        batch_of: `Trajectory` [N, T, ...] -> Batch, what ``sample_batch`` makes of the episodes it plays; None in regression.
        gauss_newton: (params, batch, v) -> product of v, a tree like params, with the Gauss-Newton curvature of the inner loss:
            J' H J, J the Jacobian of the network's outputs and H the Hessian of the loss in them. It is the loss's Hessian but
            for the network's own curvature, and has no negative direction where the loss is convex in the outputs.
    """

    sample_batch: Callable[[Params, Task, Key], Batch]
    inner_loss: Callable[[Params, Batch], tuple[jax.Array, Metrics]]
    outer_loss: Callable[[Path, Experience], tuple[jax.Array, Metrics]]
    sample_query: Callable[[Params, Task, Key], Batch] | None = None
    step_losses: Callable[[Path, Experience], tuple[jax.Array, Metrics]] | None = None
    divergence: Callable[[Path, Experience], jax.Array] | None = None
    evaluate: Callable[[Params, Task, Key], tuple[Outcome, Outcome, jax.Array]] | None = None
    batch_of: Callable[["Trajectory"], Batch] | None = None
    gauss_newton: Callable[[Params, Batch, Params], Params] | None = None


class Carried(NamedTuple):
    """Fast weights with a state beside them, such as an optimiser's moments and counts, in which no inner gradient is taken.

    Attributes:
        moving: what inner gradients are taken with respect to.
        state: any pytree of arrays. A meta-gradient goes through those of its leaves that are floats.
    """

    moving: Fast
    state: Tree


def moving(fast: Fast | Carried) -> Fast:
    """What moves, without the state beside it."""
    return fast.moving if isinstance(fast, Carried) else fast


def moved(fast: Fast | Carried, to: Fast) -> Fast | Carried:
    """The same fast weights at another place."""
    return fast._replace(moving=to) if isinstance(fast, Carried) else to


class InnerRule(NamedTuple):
    """How parameters move during adaptation: what moves (``begin``, ``read``) and how (``step``).

    The three flags tell a meta-gradient whether the rule meets its assumptions.

    Attributes:
        init: params -> theta. Adds to the network's parameters whatever else is meta-learned.
        begin: theta -> fast. The fast weights before the first inner step; `Carried`, if there is a state beside them.
        step: (theta, fast, grads, k) -> fast. One inner step; ``grads`` has the structure of what moves, ``k`` counts from 0.
        read: (theta, fast) -> params. The parameters that the network is called with.
        whole: True if theta, fast and params are the same tree: every meta-parameter moves in the inner loop.
            `metarl.meta.reptile` requires it.
        learned_rates: True if theta contains inner step sizes. `metarl.meta.implicit` refuses such a rule: the minimum of the
            inner problem does not depend on step sizes, so their meta-gradient would be zero.
        penalised: True if the steps minimise the inner loss plus a penalty, as those of `metarl.rules.proximal` do.
            `metarl.meta.implicit` refuses such a rule: it adds a proximal penalty itself and differentiates only that one.
    """

    init: Callable[[Params], Theta]
    begin: Callable[[Theta], Fast]
    step: Callable[[Theta, Fast, Fast, jax.Array], Fast]
    read: Callable[[Theta, Fast], Params]
    whole: bool = False
    learned_rates: bool = False
    penalised: bool = False


class AdaptationCurve(NamedTuple):
    """What adapting to one task gave, after 0..K adaptation steps: inner steps, or episodes of agents that adapt by memory.

    Attributes:
        score: [K+1], mean return, or negative loss.
        path: what the agent acts with after each number of steps, leaves [K+1, ...]: network parameters where adaptation is by
            gradients, parameters and the memory's state where it is by a recurrent network. Only the agent's own
            `MetaLearner.predict` knows how to read it.
        experience: the data used: K support batches and the query batch drawn after the last step.
        used: [K+1] int32, episodes (or examples) of the new task that had been used for adaptation by then.
        greedy_score: [K+1], the same score of acting greedily, by the mode of the action distribution; None in regression.
        gain_error: [K+1], standard error of each score minus the first, over episodes; infinite with a single episode, None
            where scores are not noisy.
        measures: name -> [K+1], what else the family measures of the same episodes, such as success; mean over N.
        greedy_measures: the same of acting greedily.
        gain_freedom: degrees of freedom of ``gain_error``, which follow from the number of episodes; None if there are many.
    """

    score: jax.Array
    path: Path
    experience: Experience
    used: jax.Array
    greedy_score: jax.Array | None = None
    gain_error: jax.Array | None = None
    measures: Metrics = {}  # noqa: RUF012 - never changed
    greedy_measures: Metrics = {}  # noqa: RUF012 - the same
    gain_freedom: int | jax.Array | None = None


class MetaState(NamedTuple):
    """What a gradient meta-learner carries between meta-iterations. ``iteration`` counts them, int32."""

    theta: Theta
    opt_state: Tree
    iteration: jax.Array


class Acting(NamedTuple):
    """How an agent acts one step at a time, where somebody else steps the environment: pure functions of one episode.

    On a task it has ``params``, which stay as they are between adaptation steps, and ``memory``, carried from step to step and
    from episode to episode. A loop is ``begin``, and for each episode ``reset`` and then ``respond`` and ``observe`` in turn.

    ``params`` of agents that adapt by gradients are what their network reads: flax's ``{"params": {"Dense_0": {"kernel":
    [inputs, outputs], "bias": [outputs]}, "Dense_1": ...}}`` of an MLP for discrete actions; of a Gaussian ``{"mean": such a
    tree, "log_std": [A]}``, of actions with parts, one of them a Gaussian, ``{"outputs": such a tree, "log_std": [A]}``; of
    images ``Conv_0`` and so on come before the dense layers; with normalised observations ``{"network": that, "seen": (number,
    mean, variance)}``; of a network with a context ``{"network": that, "context": [C]}``. Of rl2 ``{"memory": the memory's,
    "readers": {"actor": a policy's, "critic": a network's}}``; of images ``"encoder"`` beside them.

    Attributes:
        begin: (state, task) -> (params, memory), on a new task before any adaptation. Only agents that see it read ``task``.
        after: (path, k) -> (params, memory), after k adaptation steps of an `AdaptationCurve`.
        reset: memory -> memory; an episode begins.
        respond: (params, memory, observation) -> (memory, distribution parameters). Those of a Gaussian are ``{"mean": [A],
            "log_std": [A]}``, in the policy's units; of discrete actions logits [n], of several those of each in a row; of
            actions with parts a tuple.
        distribution: distribution parameters -> distribution, with ``sample_and_log_prob(seed=key)`` and ``mode()``.
        observe: (memory, action, reward, terminated) -> memory; what came of an action, given as the policy gave it.
        learn: (state, batches) -> (params, memory): adapted to recorded episodes, a tuple of K `Trajectory` trees [N, T, ...].
            By gradients the k-th is that of the k-th inner step; where there is one batch, all steps are taken on it; a memory
            reads all episodes in their order. None where nothing adapts.
        seeded: (memory, key) -> memory; a memory that draws by itself, as posterior sampling does, draws with this key from now
            on. None where none does.
        remembers: whether what happened in an episode changes how it acts.
        sees_task: whether ``begin`` reads the task.
        one_batch: whether ``learn`` takes all its steps on a single batch.
    """

    begin: Callable[[Any, Task], tuple[Params, Tree]]
    after: Callable[[Path, jax.Array], tuple[Params, Tree]]
    reset: Callable[[Tree], Tree]
    respond: Callable[[Params, Tree, jax.Array], tuple[Tree, Any]]
    distribution: Callable[[Any], Any]
    observe: Callable[[Tree, jax.Array, jax.Array, jax.Array], Tree]
    learn: Callable[[Any, tuple["Trajectory", ...]], tuple[Params, Tree]] | None
    seeded: Callable[[Tree, Key], Tree] | None = None
    remembers: bool = False
    sees_task: bool = False
    one_batch: bool = False


class MetaLearner(NamedTuple):
    """A pair of pure functions, and how to use what they learned.

    Attributes:
        init: key -> state.
        step: (state, key) -> (state, metrics). One meta-iteration. Metrics are scalars under the fixed names of the
            README; ``time/env_steps`` is the number drawn in this iteration.
        adapt: (state, task, key, num_steps) -> AdaptationCurve, for one task. ``num_steps`` is a Python int.
        predict: (path, task, x) -> network outputs [K+1, ...] at inputs x after 0..K adaptation steps, for pictures. ``path``
            is an `AdaptationCurve.path` of the same agent. Only the oracle reads ``task``.
        to_action: action as the policy gave it, such as a `Trajectory` records -> action that the environment takes.
        acting: how it acts in environments that somebody else steps; None in regression.
        read: observation as the environment gives it -> as networks read it, and a `Trajectory` records it.
    """

    init: Callable[[Key], Any]
    step: Callable[[Any, Key], tuple[Any, Metrics]]
    adapt: Callable[[Any, Task, Key, int], AdaptationCurve]
    predict: Callable[[Path, Task, jax.Array], Any]
    to_action: Callable[[Any], Any] = unchanged
    acting: Acting | None = None
    read: Callable[[Any], jax.Array] = unchanged


class Environment(Protocol):
    """What the sampler asks of a world: Gymnasium's functional vocabulary, with the task as ``params``.

    A world that also has ``measures``, names of some of what its ``transition_info(state, action, next_state, params)`` gives,
    finds these in `Trajectory.info`.
    """

    def initial(self, rng: Key, params: Task) -> Tree: ...
    def transition(self, state: Tree, action: jax.Array, rng: Key, params: Task) -> Tree: ...
    def observation(self, state: Tree, rng: Key, params: Task) -> jax.Array: ...
    def reward(self, state: Tree, action: jax.Array, next_state: Tree, rng: Key, params: Task) -> jax.Array: ...
    def terminal(self, state: Tree, rng: Key, params: Task) -> jax.Array: ...


class Trajectory(NamedTuple):
    """One episode of a fixed number of steps; vmapped to [N, T].

    Attributes:
        observation: [T, ...], what the policy read before each step.
        action: [T, ...], as sampled: in the policy's units, before any scaling or clipping. A tuple where actions have parts.
        log_prob: [T], of ``action`` under the policy that drew it.
        distribution: parameters of that policy's action distribution, leaves [T, ...].
        reward: [T].
        mask: [T], 1.0 for steps of the episode, 0.0 after its end.
        terminated: [T] bool, True at the step that ended the episode. Reaching the horizon is not an end.
        last_observation: [...], after the last step.
        info: name -> [T], of the environment's ``measures``; empty if it has none.
        key: words of the typed key that the episode was drawn with, uint32 [W]; with the actions it plays the episode again.
            None of an episode that was not drawn with one.

    Everything numeric is zero where ``mask`` is zero, except observations and actions, which repeat finite values.
    """

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    distribution: Tree
    reward: jax.Array
    mask: jax.Array
    terminated: jax.Array
    last_observation: jax.Array
    info: Metrics = {}  # noqa: RUF012 - the same
    key: jax.Array | None = None
