"""In how many games does an agent dig a tunnel, and when?  Read from the console's memory.

    python experiments/breakout_tunnels/run.py RUN --games 30

RUN is the folder of a training, or a checkpoint; the last checkpoint plays.  A tunnel is a column of six bricks cleared while 60 or more
bricks stand elsewhere.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import rl
from rl.annotations.breakout import bricks, tunnels
from rl.clock import clock
from rl.trajectory import decide


def first_tunnel(agent: rl.Agent, seed: int, epsilon: float) -> dict[str, object]:
    """One whole game: its points, and the first decision at which a column was open."""
    points, found = 0.0, None
    for number, row in enumerate(decide(agent, seed=seed, epsilon=epsilon)):
        points += row["rewards"]
        if found is None:
            standing = bricks(row["ram"])
            open_columns = np.flatnonzero(tunnels(standing))
            if len(open_columns):
                found = {"decision": number + 1, "time": clock(number), "column": int(open_columns[0]) + 1, "bricks": int(standing.sum())}
    return {"seed": seed, "points": points, "tunnel": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", type=Path, help="folder of a training, or a checkpoint")
    parser.add_argument("--games", type=int, default=30)
    parser.add_argument("--epsilon", type=float, default=0.01)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    agent = rl.load_run(options.agent)[-1].load() if options.agent.is_dir() else rl.load(options.agent)
    games = [first_tunnel(agent, seed, options.epsilon) for seed in range(options.games)]
    dug = [game for game in games if game["tunnel"] is not None]
    if options.json:
        print(json.dumps({"agent_steps": agent.agent_steps, "games": games}))
        return
    print(f"agent after {agent.agent_steps:,} agent steps: a tunnel in {len(dug)} of {len(games)} games")
    print(f"{'seed':>5}{'points':>8}{'tunnel at':>11}{'column':>8}{'bricks left':>13}")
    for game in games:
        tunnel = game["tunnel"]
        told = f"{'-':>11}" if tunnel is None else f"{tunnel['time']:>11}{tunnel['column']:>8}{tunnel['bricks']:>13}"
        print(f"{game['seed']:>5}{game['points']:>8.0f}{told}")


if __name__ == "__main__":
    main()
