"""Playing one game, straight on the emulator: what happens between two decisions of an agent, and why.

The protocol is that of ale-py's vector environment, with which the agents were trained; `tests/rl/test_environment.py`
holds the two side by side, frame by frame.  The emulator is used directly because that environment shows neither the
colour screen nor the memory.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from rl.games import emulator_module, minimal_actions, resolve_game, rom_path
from rl.preprocessing import SCREEN_HEIGHT, SCREEN_WIDTH, Preprocessing, check_supported, grey_of, resize

GAME_FRAMES_MAX = 108_000
"""Half an hour of play at 60 frames a second: the usual limit of a game (Machado et al. 2018, JAIR 61, sec. 2)."""


@dataclass(frozen=True)
class Outcome:
    """What one decision led to.

    Attributes:
        reward: raw change of the score over the skipped frames.
        life_lost: a life was lost on the way, and the game goes on.
        game_over: the game has ended, or reached `GAME_FRAMES_MAX`.
    """

    reward: float
    life_lost: bool
    game_over: bool


def open_emulator(game: str, seed: int, sticky_probability: float = 0.0) -> Any:
    """A loaded emulator, whose chance, if any, the seed decides.

    Args:
        game: the emulator's spelling.
        seed: the emulator's own random seed, 0 .. 2**31 - 1.
        sticky_probability: chance that a frame repeats the action of the frame before.
    """
    emulator = emulator_module().ALEInterface()
    emulator.setInt("random_seed", seed)  # read when the cartridge is loaded, so it comes first
    emulator.setFloat("repeat_action_probability", sticky_probability)  # the emulator's default is 0.25
    emulator.setInt("max_num_frames_per_episode", GAME_FRAMES_MAX)  # an agent that never serves would play for ever
    emulator.loadROM(rom_path(game))
    return emulator


class Environment:
    """One running game as an agent sees it.

    Args:
        game: any spelling :func:`rl.games.resolve_game` understands.
        preprocessing: how the agent was trained.
        seed: decides the emulator's and the no-op starts' chance; the same seed gives the same game.

    Raises:
        InputError: unknown game, or a preprocessing that cannot be performed.
    """

    def __init__(self, game: str, preprocessing: Preprocessing, seed: int) -> None:
        check_supported(preprocessing)
        self.game = resolve_game(game)
        self.preprocessing = preprocessing
        emulator_seed, start_seed = np.random.SeedSequence(seed).generate_state(2) >> np.uint32(1)  # 31 bits: an int32
        self._emulator = open_emulator(self.game, int(emulator_seed), preprocessing.sticky_probability)
        self._chance = np.random.default_rng(int(start_seed))
        self._codes = list(self._emulator.getMinimalActionSet())
        self.actions = minimal_actions(self._emulator)
        colours = () if preprocessing.colour == "grey" else (3,)
        self._frames = np.zeros((2, SCREEN_HEIGHT, SCREEN_WIDTH, *colours), np.uint8)
        self._planes: deque[UInt8[np.ndarray, "84 84"]] = deque(maxlen=preprocessing.stack)
        self.required_action: int | None = None

    @property
    def _fire(self) -> int | None:
        """Index of FIRE among the actions; None where the game does not know it."""
        return self.actions.index("FIRE") if "FIRE" in self.actions else None

    def reset(self, start_frames: int | None = None) -> None:
        """Start a new game.

        Args:
            start_frames: frames before the first decision; drawn at random as the preprocessing says when None.
        """
        if start_frames is None:
            start_frames = int(self._chance.integers(max(1, self.preprocessing.start_frames)))
        self._emulator.reset_game()
        self._press_fire()
        self._wait(start_frames - self._emulator.getEpisodeFrameNumber())
        self._clear_stack()
        self._look(0)
        self._frames[1] = 0  # nothing to pool with yet
        self._remember()
        if self.preprocessing.stack_padding == "first":
            self._planes.extend([self._planes[-1]] * (self.preprocessing.stack - 1))
        self.required_action = None

    def _press_fire(self) -> None:
        """Serve: a game that waits for FIRE stands still until somebody presses it; an agent may never learn to."""
        if self.preprocessing.fire_at_reset and self._fire is not None:
            self._emulator.act(self._codes[self._fire])

    def _wait(self, frames: int) -> None:
        """Do nothing for a while, so that not every game starts alike; otherwise an agent could learn one by heart."""
        for _ in range(frames):
            self._emulator.act(self._codes[self.actions.index("NOOP")])
            if self._emulator.game_over():  # some games end by themselves within the wait
                self._emulator.reset_game()

    def _clear_stack(self) -> None:
        """Forget the last game: the planes before the first frame are black, as in training."""
        plane = np.zeros((self.preprocessing.height, self.preprocessing.width), np.uint8)
        self._planes.extend([plane] * self.preprocessing.stack)

    def _look(self, slot: int) -> None:
        """Read the screen, as grey levels by the emulator's palette or in colour: what the agent was trained on."""
        if self.preprocessing.colour == "grey":
            self._emulator.getScreenGrayscale(self._frames[slot])
        else:
            self._emulator.getScreenRGB(self._frames[slot])

    def _remember(self) -> None:
        """Pool, shrink, stack: the maximum first, on the raw frames, since an object may be on one of them only.

        Agents that were trained with small frames pooled afterwards get those: the two differ where something flickers.
        """
        if self.preprocessing.pool_after_resize:
            self._planes.append(np.maximum(*(self._shrunk(frame) for frame in self._frames)))
        else:
            self._planes.append(self._shrunk(np.maximum(self._frames[0], self._frames[1])))

    def _shrunk(self, frame: UInt8[np.ndarray, "210 160 *colours"]) -> UInt8[np.ndarray, "84 84"]:
        """A small grey plane of a frame."""
        how = self.preprocessing
        size = (how.height, how.width, how.interpolation)
        if how.colour == "rgb-resized":
            return grey_of(np.stack([resize(np.ascontiguousarray(frame[..., c]), *size) for c in range(3)], axis=-1))
        return resize(grey_of(frame) if how.colour == "rgb-pooled" else frame, *size)

    def step(self, action: int) -> Outcome:
        """Hold an action for the skipped frames.

        Args:
            action: index into `actions`.

        Returns:
            What happened; after ``game_over`` comes :meth:`reset`.
        """
        lives, reward = self._emulator.lives(), 0.0
        for frames_left in reversed(range(self.preprocessing.frame_skip)):
            reward += self._emulator.act(self._codes[action])
            if self._emulator.game_over():
                return Outcome(reward, life_lost=False, game_over=True)
            if frames_left < self.preprocessing.pooled_frames:  # only the last two are pooled
                self._look(frames_left)
        self._remember()
        life_lost = self._emulator.lives() < lives
        self.required_action = self._fire if life_lost and self.preprocessing.fire_after_life else None
        return Outcome(reward, life_lost=life_lost, game_over=False)

    @property
    def plane(self) -> UInt8[np.ndarray, "84 84"]:
        """The newest plane of the observation."""
        return self._planes[-1]

    @property
    def observation(self) -> UInt8[np.ndarray, "4 84 84"]:
        """What the agent sees: the last planes, newest last."""
        return np.stack(list(self._planes))

    @property
    def screen(self) -> UInt8[np.ndarray, "210 160 3"]:
        """The colour screen of the last emulator frame."""
        return self._emulator.getScreenRGB()

    @property
    def ram(self) -> UInt8[np.ndarray, " 128"]:
        """The console's memory at the last emulator frame."""
        return self._emulator.getRAM()

    @property
    def lives(self) -> int:
        """Lives left."""
        return int(self._emulator.lives())
