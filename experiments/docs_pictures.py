"""The pictures of README and docs, from the agent that is shipped.

    python experiments/docs_pictures.py [--out docs/images]

`breakout.png` and `breakout.svg` are the same moment as a frame and as a figure, as
``seqxai atari video --seed 6 --still 201 --still-out breakout.png --still-out breakout.svg`` makes them;
`rules.png` is that moment under every composite, `targets.png` under every target, `layouts.png` in the other layouts;
`your_agent.png` is a frame of a video by ``rl.ExplainedEnv`` around Gymnasium's own Breakout.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import rl
from rl.drawing import BACKGROUND, PALETTES, QUIET, RED_BLUE, TEXT, Box, draw_fitting, draw_text, paste, veil
from rl.panels import Scene, design
from rl.preprocessing import area_resize, to_screen
from rl.scale import measure
from rl.video import frames

SEED, DECISIONS, MOMENT, FILMED = 6, 450, 200, 81
COMPOSITES = ("epsilon-gamma-box", "epsilon-plus", "alpha2-beta1", "deep-taylor", "epsilon", "lrp-0")
TARGETS = ("chosen", "contrast", "contrast-mean", "NOOP")
WORDS = 46


def tile(agent, trajectory, title: str, composite: str = COMPOSITES[0], target: str = "chosen") -> np.ndarray:
    """One moment with the relevance over it, and below what was explained and how strong full colour is."""
    stream = rl.explain_stream(trajectory, agent, composite, target)
    scale, moment = measure(stream), next(stream.part(np.array([MOMENT])).moments())
    picture = np.full((420 + WORDS, 320, 3), BACKGROUND, np.uint8)
    summed = to_screen(moment.relevance.sum(axis=0)) / np.float32(scale.limit)
    paste(picture, Box(0, 0, 320, 420), veil(summed, trajectory.screens[MOMENT]))
    draw_fitting(picture, title.format(stream.label(MOMENT)), 2, 423, 16, 316, TEXT)
    pixels = moment.ledger["input"]
    draw_text(picture, f"{moment.explained:.3f}, on pixels {pixels:.3f}; full colour ±{scale.limit:.2g}", 2, 443, 13, QUIET)
    return picture


def side_by_side(pictures: list[np.ndarray], columns: int, gap: int = 14) -> np.ndarray:
    """Pictures of one size in rows."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), BACKGROUND, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = gap + (number // columns) * (height + gap), gap + (number % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = picture
    return sheet


def layouts(agent, trajectory) -> np.ndarray:
    """The two smaller layouts, one of them in the other palette."""
    stream = rl.explain_stream(trajectory, agent)
    sheet = np.full((726, 1140, 3), (255, 255, 255), np.uint8)
    x = 0
    for name, palette in (("compact", RED_BLUE), ("overlay", PALETTES["orange-purple"])):
        grid = design(name).grid()
        scene = Scene(stream, measure(stream), 0, len(stream), palette)
        _, picture = next(frames(scene, grid, name, first=MOMENT, stop=MOMENT + 1))
        sheet[: grid.height, x : x + grid.width] = picture
        x += grid.width + 20
    return sheet


def your_agent(agent) -> np.ndarray:
    """A frame of what the wrapper for anyone's loop films."""
    import ale_py
    import av
    import gymnasium as gym

    gym.register_envs(ale_py)
    game = gym.make("ALE/Breakout-v5", obs_type="grayscale", repeat_action_probability=0.0, render_mode="rgb_array")
    small = gym.wrappers.TransformObservation(game, lambda screen: area_resize(screen, 84, 84), gym.spaces.Box(0, 255, (84, 84), np.uint8))
    game = gym.wrappers.FrameStackObservation(small, 4)
    with tempfile.TemporaryDirectory() as folder:
        env = rl.ExplainedEnv(game, agent.network, video_folder=folder, step_trigger=lambda step: step == 0, video_length=FILMED)
        observation, _ = env.reset(seed=SEED)
        for step in range(FILMED):
            values = agent.q_values(torch.as_tensor(observation)[None])
            observation, *_ = env.step(1 if step < 2 else int(values.argmax()))  # FIRE serves the ball
        env.close()
        with av.open(str(env.videos[0])) as film:
            return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    agent = rl.load(rl.shipped_agent())
    trajectory = rl.record(agent, seed=SEED, decisions=DECISIONS)
    sheets = {
        "rules": side_by_side([tile(agent, trajectory, name, composite=name) for name in COMPOSITES], 3),
        "targets": side_by_side([tile(agent, trajectory, f"{name}: {{}}", target=name) for name in TARGETS], 4),
        "layouts": layouts(agent, trajectory),
        "your_agent": your_agent(agent),
    }
    for name, sheet in sheets.items():
        Image.fromarray(sheet).save(options.out / f"{name}.png", optimize=True)  # a palette would make steps of the colour bars
    stream = rl.explain_stream(trajectory, agent)
    rl.render_still(stream, [options.out / "breakout.png", options.out / "breakout.svg"], MOMENT)


if __name__ == "__main__":
    main()
