"""How well agents play: whole games of one checkpoint or of a whole training, as a table and as a curve."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from rl.checkpoints.agent import Agent
from rl.scores import REFERENCES, Mean, mean_with_interval
from rl.training.evaluation import play_games
from seqxai.files import written_whole

CURVE_SUFFIXES = (".png", ".svg", ".pdf")
INK = "#1f5fa8"


@dataclass(frozen=True, eq=False)
class Played:
    """The games of one agent.

    Attributes:
        game: the emulator's spelling.
        agent_steps: of training.
        points: of each game, raw.
    """

    game: str
    agent_steps: int
    points: Float32[np.ndarray, " games"]

    @property
    def raw(self) -> Mean:
        """Game points."""
        return mean_with_interval(self.points)

    @property
    def normalised(self) -> Mean | None:
        """Points between random play, 0, and a human's, 1; None where nobody has measured these for the game."""
        reference = REFERENCES.get(self.game)
        return None if reference is None else mean_with_interval(
            np.array([reference.normalised(float(points)) for points in self.points])
        )

    def row(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        raw, normalised = self.raw, self.normalised
        return {
            "agent_steps": self.agent_steps,
            "games": len(self.points),
            "mean": raw.mean,
            "interval": None if raw.low is None else [raw.low, raw.high],
            "median": float(np.median(self.points)),
            "min": float(self.points.min()),
            "max": float(self.points.max()),
            "human_normalised": None if normalised is None else normalised.mean,
            "human_normalised_interval": None if normalised is None or normalised.low is None else [normalised.low, normalised.high],
            "points": self.points.tolist(),
        }


def play(
    agent: Agent,
    games: int = 30,
    seed: int = 0,
    epsilon: float = 0.01,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Played:
    """Let an agent play whole games: no-op starts, nothing clipped, all lives.

    Args:
        agent: who plays.
        games: how many.
        seed: decides all chance.
        epsilon: share of random actions, see :data:`rl.training.evaluation.EPSILON`.
        threads: of the emulators.
        progress: told how many games have ended.
    """
    return Played(agent.game, agent.agent_steps, play_games(agent, games, seed, threads, epsilon, progress))


def draw_curve(path: str | os.PathLike[str], played: Sequence[Played]) -> None:
    """Draw mean points over agent steps with their 95 % intervals, and where random and human play are.

    Args:
        path: file name ending in ``.png``, ``.svg`` or ``.pdf``.
        played: one per checkpoint, by agent steps.

    Raises:
        InputError: the path cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from rl.games import display_name

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    steps = [one.agent_steps / 1e6 for one in played]
    means = [one.raw for one in played]
    axes.plot(steps, [m.mean for m in means], label="mean of the games", marker="o", markersize=3.5, color=INK, linewidth=1.4)
    low, high = ([m.mean if end is None else end for m, end in zip(means, ends, strict=True)] for ends in _ends(means))
    axes.fill_between(steps, low, high, color=INK, alpha=0.2, linewidth=0, label="95 % interval")
    reference = REFERENCES.get(played[0].game)
    if reference is not None:
        for name, value, style in (("human", reference.human, (0, (5, 2))), ("random", reference.random, (0, (1, 2)))):
            axes.axhline(value, color="#555b66", linestyle=style, linewidth=1, label=f"{name}: {value:g}")
    games = "1 game" if len(played[0].points) == 1 else f"{len(played[0].points)} games"
    axes.set_xlabel("agent steps, millions")
    axes.set_ylabel(f"{display_name(played[0].game)}: mean points of {games}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    path = Path(path)
    text_as_text: Any = {"svg.hashsalt": "seqxai", "svg.fonttype": "none", "pdf.fonttype": 42}
    with mpl.rc_context(text_as_text), written_whole(path, CURVE_SUFFIXES) as partial:
        figure.savefig(partial, dpi=200, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _ends(means: Sequence[Mean]) -> tuple[list[float | None], list[float | None]]:
    """Lower and upper ends of the intervals."""
    return [mean.low for mean in means], [mean.high for mean in means]


def film_a_game(
    agent: Agent,
    paths: Sequence[Path],
    seed: int = 0,
    epsilon: float = 0.01,
    zoom: int = 3,
    progress: Callable[[int], None] | None = None,
) -> float:
    """Write a film of one whole game as a person sees it, nothing explained: 15 pictures a second, the game's own speed.

    Args:
        agent: who plays.
        paths: file names ending in ``.mp4``, ``.webm``, ``.gif`` or ``.apng``.
        seed: decides all chance.
        epsilon: share of random actions.
        zoom: pixels of the film per pixel of the game.
        progress: told the number of decisions.

    Returns:
        The points of the game.

    Raises:
        InputError: a path that cannot be written.
        DependencyError: the emulator or the encoder is not installed.
    """
    from rl.drawing import enlarge
    from rl.encoding import open_film
    from rl.preprocessing import SCREEN_HEIGHT, SCREEN_WIDTH
    from rl.trajectory import decide

    points = 0.0
    with open_film(paths, zoom * SCREEN_WIDTH, zoom * SCREEN_HEIGHT) as film:
        for row in decide(agent, seed=seed, epsilon=epsilon):
            film.write(enlarge(row["screens"], zoom))
            points += row["rewards"]
            if progress is not None:
                progress(film.frames)
    return points
