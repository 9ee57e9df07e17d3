"""``ExplainedVectorEnv``: the same for many environments at once, explained in one pass."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from rl.checks import shown, whole_number
from rl.hooks.environment import ExplainedEnv
from rl.hooks.explanation import Explanation
from rl.hooks.hook import Hook, Hooked
from rl.hooks.memory import Memory
from seqxai.errors import InputError


def _defaults() -> dict[str, Any]:
    """The options of :class:`ExplainedEnv` with their defaults."""
    parameters = inspect.signature(ExplainedEnv.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


class ExplainedVectorEnv(Hooked, VectorWrapper):
    """:class:`ExplainedEnv` for a ``gymnasium.vector.VectorEnv``, which explains the decisions of a step in one pass.

    As Gymnasium's own infos, ``info["explanation"]`` is an array of one :class:`Explanation` per environment, and
    ``info["_explanation"]`` says which of them made a decision: an environment that is reset by this step (autoreset
    in the next step) ignores its action, and has ``None``.

    Args:
        env: the vectorised environment.
        q_network: see :class:`ExplainedEnv`.
        video_env: which of the environments is filmed; its episodes are counted by ``episode_trigger``.
        options: the arguments of :class:`ExplainedEnv`.

    Raises:
        SeqxaiError: as there.
    """

    def __init__(self, env: Any, q_network: Any, *, video_env: Any = 0, **options: Any) -> None:
        if not isinstance(env, VectorEnv):
            raise InputError(f"Expected a vectorised Gymnasium environment, got {shown(env)}; one alone takes rl.ExplainedEnv.")
        super().__init__(env)
        defaults = _defaults()
        unknown = sorted(set(options) - set(defaults))
        if unknown:
            raise InputError(f"Unknown option {unknown[0]!r}; expected one of video_env, {', '.join(defaults)}.")
        self._filmed = whole_number("video_env", video_env)
        if not 0 <= self._filmed < self.num_envs:
            raise InputError(f"video_env should be 0 .. {self.num_envs - 1}, got {video_env}")
        self._hook = Hook(env, q_network, defaults | options)
        recurrent, window = self._hook.explainer.recurrent, self._hook.when.window
        self._memories = [Memory(self._hook.explainer, window) for _ in range(self.num_envs)] if recurrent else []
        self._next_step = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP) == AutoresetMode.NEXT_STEP
        self._ended = np.zeros(self.num_envs, bool)
        self._observations: np.ndarray | None = None

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """See ``VectorEnv.reset``; a ``reset_mask`` resets some."""
        observations, info = self.env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask")
        fresh = np.ones(self.num_envs, bool) if mask is None else np.asarray(mask, bool)
        self._ended[fresh] = False
        self._begin(fresh)
        self._see(observations)
        return observations, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """See ``VectorEnv.step``; ``info`` holds the explanations of these actions."""
        decided = ~self._ended if self._next_step else np.ones(self.num_envs, bool)
        explanations = self._explain(actions, decided)
        recorder = self._hook.recorder
        filmed = explanations[self._filmed] if explanations is not None else None
        frame = self._frame() if filmed is not None and recorder is not None and recorder.wants_frame else None
        observations, rewards, terminations, truncations, info = self.env.step(actions)
        if explanations is not None:
            info = self._hook.when.added(info, explanations) | {f"_{self._hook.when.key}": decided.copy()}
            if self._hook.when.callback is not None:
                for explanation in explanations[decided]:
                    self._hook.when.callback(explanation)
        ended = np.asarray(terminations, bool) | np.asarray(truncations, bool)
        if decided[self._filmed]:
            self._hook.decided(frame, filmed, float(rewards[self._filmed]), bool(ended[self._filmed]))
        # The observation that comes now opens a new episode: at once, or where the last step ended one.
        same_step = self.env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP
        self._begin(ended if same_step else self._ended & self._next_step)
        self._ended = ended
        self._see(observations)
        return observations, rewards, terminations, truncations, info

    def close(self, **kwargs: Any) -> None:
        """Finish the video being written and close the environments."""
        if self._hook.recorder is not None:
            self._hook.recorder.close()
        super().close(**kwargs)

    def _begin(self, fresh: np.ndarray) -> None:
        """New episodes begin in these environments."""
        for memory, new in zip(self._memories, fresh, strict=False):
            if new:
                memory.forget()
        if fresh[self._filmed]:
            self._hook.begin_episode()

    def _see(self, observations: Any) -> None:
        due = self._hook.next_step()
        kept = self._hook.explainer.observed(observations, (self.num_envs,)) if due or self._memories else None
        for index, memory in enumerate(self._memories):
            if kept is not None and not (self._next_step and self._ended[index]):
                memory.see(kept[index])
        self._observations = kept if due else None

    def _explain(self, actions: Any, decided: np.ndarray) -> np.ndarray | None:
        """The decisions are made now, by the weights of now."""
        if self._memories:
            self._hook.remember([self._memories[row] for row in np.flatnonzero(decided)])
        if self._observations is None:
            return None
        explanations: np.ndarray = np.full(self.num_envs, None, dtype=object)
        rows = np.flatnonzero(decided)
        indices = [self.explainer.index(actions[row]) for row in rows]
        lazy = self._hook.when.lazy
        if self._memories:  # windows differ in length, so each is a pass of its own
            for row, index in zip(rows, indices, strict=True):
                memory = self._memories[row]
                explanations[row] = self.explainer.pending(memory.window, (index,), memory.state, lazy=lazy)[0]
        elif len(rows):
            found: list[Explanation] = self.explainer.pending(self._observations[rows], tuple(indices), lazy=lazy)
            for row, explanation in zip(rows, found, strict=True):
                explanations[row] = explanation
        return explanations

    def _frame(self) -> Any:
        frames = self.env.render()
        return None if frames is None else frames[self._filmed]
