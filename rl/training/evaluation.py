"""How well an agent plays: the points of whole games."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32

from rl.checkpoints.agent import Agent, Score
from rl.training.parallel import ParallelGames, playable_in_parallel
from rl.trajectory import decide

EPSILON = 0.01
"""Share of random actions: two equal agents should not play two equal games (0.05 in Mnih et al. 2015, 0.001 in Dopamine)."""


def play_games(
    agent: Agent,
    games: int,
    seed: int = 0,
    threads: int = 2,
    epsilon: float = EPSILON,
    progress: Callable[[int], None] | None = None,
) -> Float32[np.ndarray, " games"]:
    """Play whole games, up to 32 side by side; one after the other where the agent's pictures are not those of the vector environment.

    Each place plays a number of games that is fixed beforehand.  Taking the first games that end would favour short
    ones, in which the agent lost.

    Args:
        agent: who plays.
        games: how many, at least 1.
        seed: the same seed and agent give the same games on one machine.
        threads: of the emulators.
        epsilon: share of random actions.
        progress: told how many games have ended.

    Returns:
        Game points of each.
    """
    if not playable_in_parallel(agent.preprocessing):
        return _one_by_one(agent, games, seed, epsilon, progress)
    places = min(games, 32)
    quota = np.full(places, games // places) + (np.arange(places) < games % places)
    parallel = ParallelGames(agent.game, places, seed, threads, agent.preprocessing)
    order = [parallel.actions.index(name) for name in agent.actions]
    chance, scores = np.random.default_rng(seed), []
    try:
        while quota.any():
            values = agent.q_values(torch.from_numpy(parallel.observations)).numpy()
            wanted = np.where(chance.random(places) < epsilon, chance.integers(len(order), size=places), values.argmax(axis=1))
            stepped = parallel.step(parallel.required(np.array(order)[wanted]))
            counted = stepped.game_over & (quota > 0)
            quota -= counted
            scores.extend(stepped.scores[counted].tolist())
            if progress is not None and counted.any():
                progress(len(scores))
    finally:
        parallel.close()
    return np.array(scores, np.float32)


def _one_by_one(
    agent: Agent, games: int, seed: int, epsilon: float, progress: Callable[[int], None] | None
) -> Float32[np.ndarray, " games"]:
    """Whole games on the emulator itself, each with a seed of its own."""
    scores = np.zeros(games, np.float32)
    for game, own in enumerate(np.random.SeedSequence(seed).generate_state(games).tolist()):
        scores[game] = sum(row["rewards"] for row in decide(agent, seed=own, epsilon=epsilon))
        if progress is not None:
            progress(game + 1)
    return scores


def measured(scores: Float32[np.ndarray, " games"]) -> Score:
    """The scores as a checkpoint keeps them."""
    return Score(mean=float(scores.mean()), max=float(scores.max()), games=len(scores))
