"""Stable-Baselines3: its models for :class:`rl.ExplainedEnv`, and a callback that explains the same states all through a training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from torch import Tensor, nn

from rl.checks import real_number, shown, whole_number
from rl.hooks.explainer import Explainer
from rl.hooks.grid import Grid, Snapshot
from rl.hooks.naming import action_names as names_of_actions
from rl.hooks.naming import feature_names as names_of_features
from rl.hooks.picture import palette_named
from rl.hooks.pixels import image_axes as find_axes
from seqxai.errors import DependencyError, InputError
from seqxai.files import written_whole

try:
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import TensorBoardOutputFormat
except ImportError as error:
    raise DependencyError(
        f"rl.sb3 needs stable-baselines3, which cannot be imported ({error}); install it with: pip install 'seqxai[foreign]'"
    ) from error

COLUMNS = 10
"""Times that a picture shows at most: the first, the last, and some between."""


class ActorLogits(nn.Module):
    """The scores of the actions of a PPO or A2C policy.

    Args:
        policy: an ``ActorCriticPolicy`` with discrete actions.
    """

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observations: Tensor) -> Tensor:
        """Logits (batch, actions), from observations as the environment gives them."""
        features = self.policy.extract_features(observations, self.policy.pi_features_extractor)
        logits: Tensor = self.policy.action_net(self.policy.mlp_extractor.forward_actor(features))
        return logits


class MeanOfQuantiles(nn.Module):
    """The Q-values of a QR-DQN: the mean of its quantiles.

    Args:
        quantile_net: (batch, ...) to (batch, quantiles, actions).
    """

    def __init__(self, quantile_net: Any) -> None:
        super().__init__()
        self.quantile_net = quantile_net

    def forward(self, observations: Tensor) -> Tensor:
        """Q-values (batch, actions)."""
        quantiles: Tensor = self.quantile_net(observations)
        return quantiles.mean(dim=1)


def decision_network(model: Any) -> nn.Module:
    """What a model decides by, as a module: Q-values of DQN and QR-DQN, logits of PPO and A2C.

    It takes observations as the model's policy does, unscaled bytes with channels first, and divides by 255 inside, as
    Stable-Baselines3 does; nothing is copied, so it learns with the model.

    Args:
        model: a Stable-Baselines3 (or sb3-contrib) model with discrete actions.

    Raises:
        InputError: of another kind.
    """
    policy = getattr(model, "policy", None)
    if isinstance(getattr(model, "action_space", None), gym.spaces.Discrete) and policy is not None:
        if hasattr(policy, "q_net"):
            network: nn.Module = policy.q_net
            return network
        if hasattr(policy, "quantile_net"):
            return MeanOfQuantiles(policy.quantile_net)
        if hasattr(policy, "action_net") and hasattr(policy, "mlp_extractor") and not hasattr(policy, "lstm_actor"):
            return ActorLogits(policy)
    raise InputError(
        f"Expected a DQN, QR-DQN, PPO or A2C model with discrete actions, got {type(model).__name__}; "
        "give rl.ExplainedEnv the network that decides, as an nn.Module."
    )


def collect_states(env: gym.Env, count: int, *, apart: int = 10, seed: int = 0) -> np.ndarray:
    """Some states of an environment, met by random play, to be explained again and again.

    Args:
        env: an environment of its own, not the one that trains.
        count: how many.
        apart: steps between them.
        seed: the same seed gives the same states.

    Returns:
        (count, ...), as the environment gives them.
    """
    count, apart = whole_number("count", count), whole_number("apart", apart)
    if count < 1 or apart < 1:
        raise InputError(f"count and apart should be at least 1, got {count} and {apart}")
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    states: list[np.ndarray] = []
    while len(states) < count:
        for _ in range(apart):
            observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                observation, _ = env.reset()
        states.append(np.array(observation))
    return np.stack(states)


class ExplanationCallback(BaseCallback):  # type: ignore[misc,unused-ignore]
    """Explains the same states at chosen steps of a training, into TensorBoard and PNG files.

    Each time a picture is written whose rows are the states and whose columns all times so far, on one colour scale;
    and the scalars ``<tag>/explained_<state>``, and ``<tag>/input``, the share of what is explained that reached the input,
    sum of magnitudes over the states.  Training is the same with and without it.

    Args:
        states: (states, ...), observations of the training environment; see :func:`collect_states`.
        every: explain every so many time steps, at the start and at the end.
        steps: or at these time steps, each as soon as it is reached.
        target: as of :class:`rl.ExplainedEnv`; the action taken is the one with the largest value at that time.
        composite: as there.
        tag: name in TensorBoard, and of the files.
        folder: also write PNG files there.
        scale: value of full colour; by default a quantile of all relevance in the picture.
        action_names, feature_names, image_axes, palette: as of :class:`rl.ExplainedEnv`.
        verbose: of Stable-Baselines3's callbacks.

    Attributes:
        history: what was explained so far, a ``Snapshot`` for each time.

    Raises:
        InputError: an option that does not fit.
    """

    def __init__(
        self,
        states: Any,
        *,
        every: Any = None,
        steps: Any = None,
        target: Any = "largest",
        composite: Any = None,
        tag: str = "explanation",
        folder: str | os.PathLike[str] | None = None,
        scale: Any = None,
        action_names: Any = None,
        feature_names: Any = None,
        image_axes: Any = None,
        palette: Any = "red-blue",
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        if (every is None) == (steps is None):
            raise InputError("Give either every=..., a number of time steps, or steps=..., a list of them.")
        self._every = None if every is None else whole_number("every", every)
        if self._every is not None and self._every < 1:
            raise InputError(f"every should be at least 1 time step, got {every}")
        self._steps = sorted(whole_number("steps", step) for step in steps or ())
        self._states = np.asarray(states)
        if self._states.ndim < 2 or not len(self._states):
            raise InputError(f"Expected states of shape (states, ...), at least one, got {self._states.shape}.")
        self._target, self._composite, self._tag = target, composite, tag
        self._folder = None if folder is None else Path(folder)
        self._scale = None if scale is None else real_number("scale", scale)
        if self._scale is not None and self._scale <= 0:
            raise InputError(f"scale should be above 0, got {shown(scale)}")
        self._names, self._features, self._axes = action_names, feature_names, image_axes
        self._palette = palette_named(palette)
        self._next = 0
        self.history: list[Snapshot] = []

    # ---- Stable-Baselines3 calls these -----------------------------------------------------------------------------------------------

    def _on_training_start(self) -> None:
        writers = [f.writer for f in self.logger.output_formats if isinstance(f, TensorBoardOutputFormat)]
        if not writers and self._folder is None:
            raise InputError("There is nowhere to write to: make the model with tensorboard_log=..., or give the callback folder=....")
        self._writer = writers[0] if writers else None
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._set_up()
        if not self._steps or self._steps[0] <= self.num_timesteps:
            self._explain()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._explain()
        return True

    def _on_training_end(self) -> None:
        if self._every is not None and (not self.history or self.history[-1].step < self.num_timesteps):
            self._explain()

    # ---- explaining ------------------------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        network, env = decision_network(self.model), self.training_env
        actions: Any = self.model.action_space
        names = self._names
        if names is None:
            names = names_of_actions(_first(env), int(actions.n))
        quantity = "logit" if isinstance(network, ActorLogits) else "Q"
        self._explainer = Explainer(
            network, self.model.observation_space, actions, target=self._target, composite=self._composite, action_names=names,
            quantity=quantity,
        )  # fmt: skip
        space = self._explainer.space
        axes, count = find_axes(space.shape, self._axes), int(np.prod(space.shape))
        features = tuple(self._features) if self._features is not None else names_of_features(_first(env), count)
        if len(features) != count:
            raise InputError(f"Expected {count} feature names, one for each number of an observation, got {shown(features)}.")
        self._grid = Grid(axes, (float(space.low.min()), float(space.high.max())), features, self._scale, self._palette)
        self._schedule()

    def _schedule(self) -> None:
        """When to explain next."""
        if self._every is not None:
            self._next = (self.num_timesteps // self._every + 1) * self._every
        else:
            later = [step for step in self._steps if step > self.num_timesteps]
            self._next = later[0] if later else 2**63

    def _seen(self) -> np.ndarray:
        """The states as the network sees them: normalised and with channels first, where the model does that."""
        normalise = self.model.get_vec_normalize_env()
        states: Any = self._states if normalise is None else normalise.normalize_obs(self._states)
        seen: Any = self.model.policy.obs_to_tensor(states)[0]
        return self._explainer.observed(seen, (len(self._states),))

    def _explain(self) -> None:
        seen = self._seen()
        chosen = self._explainer.values(seen).argmax(axis=1)
        explanations = self._explainer.pending(seen, tuple(chosen.tolist()))
        self.history.append(Snapshot(self.num_timesteps, tuple(explanations)))
        self._schedule()
        picture = self.picture()
        if self._writer is not None:
            self._writer.add_image(self._tag, picture, self.num_timesteps, dataformats="HWC")
            for index, explanation in enumerate(explanations):
                self._writer.add_scalar(f"{self._tag}/explained_{index}", explanation.explained, self.num_timesteps)
            self._writer.add_scalar(f"{self._tag}/input", _input_share(explanations), self.num_timesteps)
            self._writer.flush()
        if self._folder is not None:
            from PIL import Image

            with written_whole(self._folder / f"{self._tag.replace('/', '-')}-{self.num_timesteps:09d}.png", (".png",)) as partial:
                Image.fromarray(picture).save(partial)

    def picture(self) -> np.ndarray:
        """The states at all times so far (at most ten: the first, the last, and some between), (height, width, 3)."""
        if not self.history:
            raise InputError("Nothing was explained yet; the picture is there once training began.")
        last = len(self.history) - 1
        shown_times = sorted({round(i * last / max(1, min(COLUMNS, last + 1) - 1)) for i in range(min(COLUMNS, last + 1))})
        return self._grid.draw([self.history[i] for i in shown_times])


def _input_share(explanations: Sequence[Any]) -> float:
    """How much of what was explained reached the input."""
    explained = sum(abs(e.explained) for e in explanations)
    return sum(abs(e.ledger["input"]) for e in explanations) / explained if explained else 0.0


def _first(env: Any) -> Any:
    """The first environment of Stable-Baselines3's vector, for its names; the vector where it is out of reach."""
    inner = getattr(getattr(env, "unwrapped", env), "envs", None)
    return inner[0] if inner else gym.Env()
