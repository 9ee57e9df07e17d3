"""Many games at once for training: ale-py's vector environment, with what its interface leaves to the trainer.

It plays with the protocol of :mod:`rl.environment`, which explains one game at a time: the action is held for four
frames, the last two are pooled, FIRE is pressed at the start of a game and after each lost life.  Three things differ
from what the vector environment does by itself.  A lost life does not start a new game: the agent must see the late
game, too.  FIRE after a lost life is pressed for the agent: one that must discover it stands still most of the time.
And rewards come unclipped, so that scores are known in game points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

from rl.environment import GAME_FRAMES_MAX
from rl.games import emulator_module, game_actions
from rl.preprocessing import Preprocessing

SEEN_BY_ALL = ("pooled_frames", "colour", "height", "width", "interpolation", "stack", "stack_padding", "pool_after_resize")
"""Fields of a preprocessing in which the vector environment has no choice."""


def playable_in_parallel(preprocessing: Preprocessing) -> bool:
    """Whether the vector environment shows an agent what it was trained on; agents of other libraries saw other pictures."""
    return all(getattr(preprocessing, name) == getattr(Preprocessing(), name) for name in SEEN_BY_ALL)


@dataclass(frozen=True)
class Stepped:
    """What one decision in every game led to.

    Attributes:
        rewards: change of each score, in game points.
        life_lost: a life was lost, and the game goes on.
        game_over: the game ended; its successor has begun, and is what the observation shows.
        scores: points of the games that ended, 0 elsewhere.
        lengths: their decisions, 0 elsewhere.
    """

    rewards: Float32[np.ndarray, " games"]
    life_lost: Bool[np.ndarray, " games"]
    game_over: Bool[np.ndarray, " games"]
    scores: Float32[np.ndarray, " games"]
    lengths: Int64[np.ndarray, " games"]


class ParallelGames:
    """Games that run side by side, each followed by the next without a pause.

    Args:
        game: the emulator's spelling.
        count: number of games.
        seed: decides the emulators' chance; the same seed and actions give the same games.
        threads: of the emulators.
        preprocessing: sticky actions, start frames and FIRE are taken from it; the rest is what the vector environment does.

    Attributes:
        observations: (count, 4, 84, 84), what the agents see now; the array is written anew at each step.
        actions: names, in the order of the numbers.
    """

    def __init__(self, game: str, count: int, seed: int, threads: int, preprocessing: Preprocessing | None = None) -> None:
        self.preprocessing = Preprocessing() if preprocessing is None else preprocessing
        self.actions = game_actions(game)
        self.count = count
        self._environment = _vector_environment(game, count, threads, self.preprocessing)
        seeds = np.random.SeedSequence(seed).generate_state(count) >> np.uint32(1)  # 31 bits: an int32
        self.observations, information = self._environment.reset(seed=seeds.astype(np.int64))
        self._lives = information["lives"]
        self._frames = information["episode_frame_number"]
        self._scores = np.zeros(count, np.float32)
        self._lengths = np.zeros(count, np.int64)
        self.must_fire = np.zeros(count, bool)

    @property
    def fire(self) -> int | None:
        """Number of the action FIRE; None where the game does not know it."""
        return self.actions.index("FIRE") if "FIRE" in self.actions else None

    def required(self, actions: Int64[np.ndarray, " games"]) -> Int64[np.ndarray, " games"]:
        """The actions that will be played: FIRE where a life has just been lost, else what is given."""
        if self.fire is None or not self.preprocessing.fire_after_life:
            return actions
        return np.where(self.must_fire, self.fire, actions)

    def step(self, actions: Int64[np.ndarray, " games"]) -> Stepped:
        """Play one decision in every game.

        Args:
            actions: numbers, as :meth:`required` gives them.

        Returns:
            What happened; `observations` show the state after it.
        """
        self.observations, rewards, _, truncated, information = self._environment.step(actions)
        rewards = rewards.astype(np.float32)
        frames, lives = information["episode_frame_number"], information["lives"]
        game_over = truncated | (frames <= self._frames)  # a new game counts its frames from 0
        life_lost = ~game_over & (lives < self._lives)
        self._frames, self._lives, self.must_fire = frames, lives, life_lost
        self._scores += rewards
        self._lengths += 1
        stepped = Stepped(rewards, life_lost, game_over, self._scores * game_over, self._lengths * game_over)
        self._scores[game_over], self._lengths[game_over] = 0.0, 0
        return stepped

    def close(self) -> None:
        """Stop the emulators' threads."""
        self._environment.close()


def _vector_environment(game: str, count: int, threads: int, preprocessing: Preprocessing) -> Any:
    """ale-py's environment, told everything explicitly."""
    emulator_module()
    from ale_py.vector_env import AtariVectorEnv
    from gymnasium.vector import AutoresetMode

    return AtariVectorEnv(
        game,
        count,
        num_threads=threads,
        max_num_frames_per_episode=GAME_FRAMES_MAX,
        repeat_action_probability=preprocessing.sticky_probability,
        autoreset_mode=AutoresetMode.SAME_STEP,  # no step is spent on a reset
        img_height=preprocessing.height,
        img_width=preprocessing.width,
        stack_num=preprocessing.stack,
        frameskip=preprocessing.frame_skip,
        noop_max=preprocessing.start_frames,
        use_fire_reset=preprocessing.fire_at_reset,
        episodic_life=False,
        reward_clipping=False,
    )
