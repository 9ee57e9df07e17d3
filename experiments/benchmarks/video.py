"""What a second of explanation video costs: play, explain, draw and encode, per decision; the whole; and the usual method.

    python experiments/benchmarks/video.py [--decisions 600] [--rounds 3] [--memory MINUTES]

Bounds at 960 x 480 or larger: 100 decisions a second into H.264 with explaining, 60 with WebM beside it, on two cores;
half an hour of play within 1.5 GB.  Perturbation saliency is that of Greydanus et al. 2018 (ICML, arXiv 1711.00138): every
fifth pixel in both directions, 256 blurred copies of each frame through the network, one passage per copy.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import rl
from rl.encoding import open_film
from rl.panels import Scene, design, empty_canvas
from rl.scale import measure
from rl.trajectory import Trajectory
from rl.video import frames

WARM_UP = 100
"""Decisions before steady state is measured: the first key frame, full queues."""
PASSAGES = 256


def shortest(run: Callable[[], object], rounds: int) -> float:
    """The shortest time of some rounds in seconds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def drawn(scene: Scene, grid, layout: str, moments) -> list[np.ndarray]:
    """Pictures of some decisions, explained before: drawing alone."""
    panels, background = design(layout).panels(scene, grid), empty_canvas(grid)
    for panel in panels:
        panel.background(background)
    pictures = []
    for moment in moments:
        canvas = background.copy()
        for panel in panels:
            panel.draw(canvas, moment)
        pictures.append(canvas)
    return pictures


def encoded(paths: list[Path], pictures: list[np.ndarray]) -> None:
    """Some pictures to film files: encoding alone."""
    height, width = pictures[0].shape[:2]
    with open_film(paths, width, height) as film:
        for picture in pictures:
            film.write(picture)


def perturbation_saliency(agent, observation: torch.Tensor) -> torch.Tensor:
    """Half the squared change of the Q-values for a blurred blot at every place of a 16 x 16 grid."""
    pixels = observation.float()[None]  # (1, 4, 84, 84)
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(pixels, (3, 3, 3, 3), mode="replicate"), 7, stride=1)
    rows, columns = torch.meshgrid(torch.arange(84.0), torch.arange(84.0), indexing="ij")
    centres = torch.stack(torch.meshgrid(torch.arange(4, 84, 5.0), torch.arange(4, 84, 5.0), indexing="ij"), -1).reshape(-1, 2)
    before, saliency = agent.network(pixels), torch.zeros(len(centres))
    for place, (row, column) in enumerate(centres):
        mask = torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * 5.0**2))
        after = agent.network(pixels * (1 - mask) + blurred * mask)
        saliency[place] = 0.5 * ((after - before) ** 2).sum()
    return saliency


def steady(stream, scene: Scene, grid, layout: str, paths: list[Path]) -> tuple[float, float]:
    """Seconds per decision of everything together after the warm-up, and of the processor on all cores."""
    with open_film(paths, grid.width, grid.height) as film:
        for _, picture in frames(scene, grid, layout):
            film.write(picture)
            if film.frames == WARM_UP:
                start, worked = time.perf_counter(), time.process_time()
        count = film.frames - WARM_UP
        elapsed, work = time.perf_counter() - start, time.process_time() - worked
    return elapsed / count, work / count


def table(agent, trajectory: Trajectory, rounds: int, folder: Path) -> None:
    """Print each part alone, then everything together."""
    stream = rl.explain_stream(trajectory, agent)
    few = np.arange(128)

    def explain() -> list:
        return [list(part.moments()) for part in stream.parts(0, len(few), 32)]

    moments = [moment for part in explain() for moment in part]
    ms = {"play": 1e3 * shortest(lambda: rl.record(agent, seed=6, decisions=128), rounds) / 128}
    ms["explain"] = 1e3 * shortest(explain, rounds) / len(few)
    with torch.no_grad():
        observation = torch.from_numpy(trajectory.observations(few[60:61]))[0]
        ms["perturbation saliency, 256 passages"] = 1e3 * shortest(lambda: perturbation_saliency(agent, observation), rounds)
    layouts = (("full", (1280, 720)), ("full", (960, 540)), ("compact", None))
    for layout, size in layouts:
        grid = design(layout).grid(size)
        scene = Scene(stream, measure(stream), 0, len(stream))
        name = f"{layout} {grid.width}x{grid.height}"
        pictures = drawn(scene, grid, layout, moments)
        ms[f"draw, {name}"] = 1e3 * shortest(lambda g=grid, s=scene, n=layout: drawn(s, g, n, moments), rounds) / len(few)
        for suffix in (".mp4", ".webm"):
            path = folder / f"alone{suffix}"
            ms[f"encode {suffix[1:]}, {name}"] = 1e3 * shortest(lambda p=path, q=pictures: encoded([p], q), rounds) / len(few)
    print(f"{'alone, one core, shortest of ' + str(rounds):<44}{'ms per decision':>16}{'per second':>12}")
    for name, value in ms.items():
        print(f"{name:<44}{value:>16.2f}{1e3 / value:>12.1f}")
    print(f"\n{'together, steady state':<44}{'per second':>16}{'cores busy':>12}")
    for layout, size in layouts[:2]:
        grid = design(layout).grid(size)
        scene = Scene(stream, measure(stream), 0, len(stream))
        for suffixes in ((".mp4",), (".mp4", ".webm")):
            paths = [folder / f"film{suffix}" for suffix in suffixes]
            rates = [steady(stream, scene, grid, layout, paths) for _ in range(rounds)]
            told = ", ".join(f"{1 / wall:.0f}" for wall, _ in rates)
            busy = ", ".join(f"{work / wall:.1f}" for wall, work in rates)
            print(f"{f'{layout} {grid.width}x{grid.height} ' + ' + '.join(s[1:] for s in suffixes):<44}{told:>16}{busy:>12}")


def memory(agent, minutes: float, folder: Path) -> None:
    """Play, explain, draw and encode a long game, and print the peak of the resident memory."""
    decisions = round(minutes * 60 * 15)

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    start = time.perf_counter()
    trajectory = rl.record(agent, seed=6, decisions=decisions)
    played = time.perf_counter()
    print(f"{decisions} decisions, {minutes:g} minutes of play: recorded in {played - start:.0f} s, peak {peak():.0f} MB", flush=True)
    video = rl.render(rl.explain_stream(trajectory, agent), folder / "long.mp4")
    print(
        f"explained, drawn and encoded at {video.width}x{video.height} in {time.perf_counter() - played:.0f} s, "
        f"{video.bytes[0] / 1e6:.0f} MB, {video.frames / (time.perf_counter() - played):.0f} decisions a second, peak {peak():.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=float, metavar="MINUTES", help="instead, measure the memory of so long a video")
    options = parser.parse_args()
    torch.set_num_threads(1)
    agent = rl.load(rl.shipped_agent())
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            memory(agent, options.memory, Path(folder))
            return
        print(f"Breakout, {options.decisions} decisions, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
        table(agent, rl.record(agent, seed=6, decisions=options.decisions), options.rounds, Path(folder))


if __name__ == "__main__":
    main()
