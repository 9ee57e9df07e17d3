"""What the wrappers for one environment and for many share: the explainer, when it is asked, the films."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from rl.checks import shown
from rl.hooks.explainer import Explainer
from rl.hooks.explanation import Explanation
from rl.hooks.memory import Memory
from rl.hooks.naming import action_names as names_of_actions
from rl.hooks.naming import feature_names as names_of_features
from rl.hooks.picture import Picture, picture_of
from rl.hooks.pixels import image_axes as find_axes
from rl.hooks.recorder import Recorder
from rl.hooks.settings import When, filming, when
from seqxai.errors import InputError

FPS = 30.0
"""Decisions per second of an environment that does not say."""


class Hook:
    """What both wrappers share.

    Args:
        env: the environment, or a vectorised one.
        network: see :class:`rl.ExplainedEnv`.
        options: the others of its arguments.

    Raises:
        SeqxaiError: something does not fit.
    """

    def __init__(self, env: Any, network: Any, options: dict[str, Any]) -> None:
        vector = isinstance(env, VectorEnv)
        space = env.single_observation_space if vector else env.observation_space
        actions = env.single_action_space if vector else env.action_space
        self.when: When = when(*(options[name] for name in ("every", "lazy", "callback", "key", "recurrent")))
        names = options["action_names"]
        if names is None and isinstance(actions, gym.spaces.Discrete):
            names = names_of_actions(env, int(actions.n))
        self.explainer = Explainer(
            network, space, actions, action_names=names, recurrent=self.when.recurrent is not None,
            **{name: options[name] for name in ("target", "composite", "preprocess", "output", "quantity", "add_batch")},
        )  # fmt: skip
        self.recorder = self._recorder(env, options)
        self.step = -1
        self.episode, self.decision, self.rewards = -1, 0, 0.0
        self._warned = False

    def _recorder(self, env: Any, options: dict[str, Any]) -> Recorder | None:
        """Writes the videos, if there shall be any; the options are checked in any case."""
        picture = self._picture(env, options)
        folder = options["video_folder"]
        settings = filming(options, FPS if folder is None else env.metadata.get("render_fps") or FPS)
        if folder is None:
            return None
        if env.render_mode not in (None, "rgb_array"):
            raise InputError(
                f"A video needs one picture for each decision, but the environment's render_mode is {env.render_mode!r}; make it with "
                "render_mode='rgb_array', or with none to show observations only."
            )
        return Recorder(folder, picture, settings)

    def _picture(self, env: Any, options: dict[str, Any]) -> Picture:
        space = self.explainer.space
        axes = find_axes(space.shape, options["image_axes"])
        count = int(np.prod(space.shape))
        features = options["feature_names"]
        if features is None:
            features = names_of_features(env, count)
        if isinstance(features, str) or len(features) != count:
            raise InputError(f"Expected {count} feature names, one for each number of an observation, got {shown(features)}.")
        title = env.spec.id if getattr(env, "spec", None) is not None else type(env.unwrapped).__name__
        return picture_of(
            title, options["video_size"], self.explainer.action_names, tuple(features), space, axes,
            recurrent=self.explainer.recurrent, framed=env.render_mode is not None, palette=options["palette"],
        )  # fmt: skip

    # ---- a loop, as it goes --------------------------------------------------------------------------------------------------------

    def begin_episode(self) -> None:
        """An episode begins: the one that is filmed, of many."""
        self.episode, self.decision, self.rewards = self.episode + 1, 0, 0.0
        if self.recorder is not None:
            self.recorder.begin_episode(self.episode)

    def next_step(self) -> bool:
        """Count one more decision; whether it will be explained."""
        self.step += 1
        if self.recorder is not None:
            self.recorder.begin_step(self.step)
            if self.recorder.recording:
                return True
        return self.step % self.when.every == 0

    def remember(self, memories: Iterable[Memory]) -> None:
        """The recurrent network decides; told once, where it learnt since it saw what it remembers."""
        weights = self.explainer.network.fingerprint(buffers=False)
        left = [memory.decide(weights) for memory in memories]
        if any(left) and not self._warned:
            self._warned = True
            warnings.warn(
                "The recurrent network's weights or mode changed within an episode. What it saw before was decided on by other "
                "weights, so each change begins a new window: relevance reaches back to the last change, and the rest is booked as "
                "initial_state. To see the whole past, explain episodes without learning in between.",
                stacklevel=4,
            )

    def decided(self, frame: Any, explanation: Explanation | None, reward: float, over: bool) -> None:
        """The outcome of one decision in the filmed episode; its frame shows what was known before: the rewards so far.

        Args:
            frame: rendered before the step, or ``None``.
            explanation: of the decision, or ``None``.
            reward: that it brought.
            over: whether it ended the episode.
        """
        self.decision += 1
        if self.recorder is not None and explanation is not None:
            self.recorder.add(frame, explanation, self.rewards, self.episode, self.decision)
        self.rewards += reward
        if self.recorder is not None and over:
            self.recorder.end_episode()


class Hooked:
    """What users reach through either wrapper."""

    _hook: Hook

    @property
    def explainer(self) -> Explainer:
        """Explains single observations outside of a loop: ``env.explainer.explain(observation)``."""
        return self._hook.explainer

    @property
    def videos(self) -> list[Any]:
        """Paths of the videos that are finished."""
        return list(self._hook.recorder.paths) if self._hook.recorder is not None else []
