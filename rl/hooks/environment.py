"""``ExplainedEnv``: a Gymnasium wrapper that explains every decision of anyone's loop."""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv

from rl.checks import shown
from rl.hooks.explanation import Explanation
from rl.hooks.hook import Hook, Hooked
from rl.hooks.memory import Memory
from seqxai.errors import InputError

VIDEO_SIZE = (960, 480)


class ExplainedEnv(Hooked, gym.Wrapper, RecordConstructorArgs):
    """Explains, in any loop, why each action was taken: ``env = rl.ExplainedEnv(env, q_network)``.

    ``step(action)`` explains the decision for ``action`` on the observation *before* it, the one that ``reset`` or the last
    ``step`` returned, and hands the :class:`Explanation` out in ``info["explanation"]``, in a copy of the environment's own
    ``info``.  Explaining does not change play: actions, observations, random states, gradients and the network's mode are as
    without the wrapper.  Put it where the observations are those the network sees, outside of frame stacking.

    A vectorised environment goes through the same door and becomes an :class:`ExplainedVectorEnv`.

    Args:
        env: an environment with discrete actions and arrays as observations.
        q_network: maps a batch of observations to Q-values or logits; explained in the mode it is in, by another run: one that
            draws random numbers (dropout in training mode) is explained with other ones than it acted by, and a warning says so.
        target: what is explained: ``"chosen"`` (Q of the action taken), ``"largest"``, ``"contrast"`` (chosen minus the best
            of the others), ``"contrast-mean"`` (minus their mean), ``"state-value"`` (of a dueling network), an action's name, or an object
            of :mod:`seqxai.targets`.
        composite: rules by name or as an object; by default ``"epsilon-gamma-box"`` for uint8 images and ``"epsilon"`` otherwise.
        preprocess: what you do to a batch of observations before the network (``lambda x: x / 255``), in torch operations.  It
            is recorded too: relevance is that of the environment's own observation.
        output: picks the values from what the network returns (``lambda returned: returned[0]``).
        every: explain only every so many decisions; the others cost nearly nothing.
        lazy: compute an explanation when one of its numbers is first looked at.
        callback: called with each explanation.
        key: under which ``info`` holds it.
        recurrent: for ``network(observations, state) -> (values, state)`` with observations (batch, steps, ...): how many of the last
            decisions get relevance, or ``"episode"`` for all; where the weights change on the way, those since the last change.
        action_names: one per action; the environment's own by default.
        feature_names: one per number of a vector.
        quantity: what the outputs are called: ``"Q"``, ``"logit"``.
        add_batch: ``False`` for a network that takes one observation without a batch dimension.
        image_axes: which axes of an observation are rows and columns, where the guess is wrong.
        video_folder: write videos there, one frame per decision; every recorded decision is explained.  The environment is shown if its
            ``render_mode`` is ``"rgb_array"``; without one, only what the network saw.  Videos of another run are kept; this
            one's get a number behind the prefix, with a warning.
        episode_trigger: told an episode's number: record it?  By default as ``gymnasium.wrappers.RecordVideo``.
        step_trigger: told a decision's number: record from there?
        video_length: decisions per video; 0 for whole episodes.
        name_prefix: of the files.
        fps: decisions per second; the environment's by default.
        video_size: width and height in pixels, even.
        palette: ``"red-blue"``, or ``"orange-purple"``, which stays apart under every colour blindness.
        scale: relevance of full colour; by default a quantile of the first ``scale_decisions`` decisions of each video.
        scale_decisions: see ``scale``.

    Raises:
        SeqxaiError: the network, the environment or an option does not fit, in one sentence with what to pass.
    """

    def __new__(cls, env: Any, *args: Any, **kwargs: Any) -> Any:
        """A vectorised environment has another base class in Gymnasium, so it needs another wrapper."""
        if isinstance(env, VectorEnv):
            from rl.hooks.vector import ExplainedVectorEnv

            return ExplainedVectorEnv(env, *args, **kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        env: Any,
        q_network: Any,
        *,
        target: Any = "chosen",
        composite: Any = None,
        preprocess: Any = None,
        output: Any = None,
        every: Any = 1,
        lazy: bool = False,
        callback: Any = None,
        key: Any = "explanation",
        recurrent: Any = None,
        action_names: tuple[str, ...] | list[str] | None = None,
        feature_names: tuple[str, ...] | list[str] | None = None,
        quantity: str = "Q",
        add_batch: bool = True,
        image_axes: tuple[int, int] | None = None,
        video_folder: str | os.PathLike[str] | None = None,
        episode_trigger: Any = None,
        step_trigger: Any = None,
        video_length: Any = 0,
        name_prefix: str = "explained",
        fps: Any = None,
        video_size: Any = VIDEO_SIZE,
        palette: Any = "red-blue",
        scale: Any = None,
        scale_decisions: Any = 30,
    ) -> None:
        options = {k: v for k, v in locals().items() if k not in ("self", "env", "q_network", "__class__")}
        if not isinstance(env, gym.Env):
            raise InputError(f"Expected a Gymnasium environment, got {shown(env)}.")
        # Gymnasium makes an environment again from its wrappers' arguments; a network is not to be copied for that.
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, q_network=q_network, **options)
        gym.Wrapper.__init__(self, env)
        self._hook = Hook(env, q_network, options)
        self._memory = Memory(self._hook.explainer, self._hook.when.window) if self._hook.explainer.recurrent else None
        self._observation: np.ndarray | None = None
        self._decides, self._over = False, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See ``gymnasium.Env.reset``; the first observation is decided on next."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._begin()
        self._see(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """See ``gymnasium.Env.step``; ``info`` holds the explanation of this action."""
        explanation = self._explain(action)
        recorder = self._hook.recorder
        frame = self.env.render() if explanation is not None and recorder is not None and recorder.wants_frame else None
        observation, reward, terminated, truncated, info = self.env.step(action)
        over = bool(terminated or truncated)
        if explanation is not None:
            info = self._hook.when.added(info, explanation)
            if self._hook.when.callback is not None:
                self._hook.when.callback(explanation)
        if self._over:  # gymnasium.wrappers.Autoreset: this step ignored its action and began an episode
            self._begin()
        else:
            self._hook.decided(frame, explanation, float(reward), over)
        self._over = over
        if not over:  # nobody decides on the last observation of an episode
            self._see(observation)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Finish the video being written and close the environment."""
        if self._hook.recorder is not None:
            self._hook.recorder.close()
        super().close()

    def _begin(self) -> None:
        """An episode begins."""
        self._over = False
        if self._memory is not None:
            self._memory.forget()
        self._hook.begin_episode()

    def _see(self, observation: Any) -> None:
        """Keep what the next decision will be made on, if it will be explained."""
        due = self._hook.next_step()
        seen = self._hook.explainer.observed(observation) if due or self._memory is not None else None
        if self._memory is not None and seen is not None:
            self._memory.see(seen)
        self._observation, self._decides = seen if due else None, True

    def _explain(self, action: Any) -> Explanation | None:
        """The decision is made now, by the weights of now."""
        observation, decides = self._observation, self._decides
        self._observation, self._decides = None, False
        if decides and self._memory is not None:
            self._hook.remember([self._memory])
        if observation is None:
            return None
        index, lazy = self.explainer.index(action), self._hook.when.lazy
        if self._memory is None:
            return self.explainer.pending(observation[None], (index,), lazy=lazy)[0]
        return self.explainer.pending(self._memory.window, (index,), self._memory.state, lazy=lazy)[0]
