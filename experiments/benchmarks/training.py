"""How many agent steps a second both algorithms make, and where the time goes.

    python experiments/benchmarks/training.py [--seconds 20] [--threads 2] [--game breakout] [--device auto]

Bounds on two cores with the emulators: `pqn` 1,200 agent steps a second, `dqn` with two samples learnt per step 800; on a GPU with 16 cores
15,000.  The parts are measured alone, in processor time of one thread; the whole in wall time, since parts run at the same time.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rl.preprocessing import Preprocessing
from rl.training.common import Setup, forward
from rl.training.dqn import DQN, DQNSettings
from rl.training.pqn import PQN, PQNSettings
from rl.training.session import find_device, supports_bfloat16


def processor_ms(run: Callable[[], object], rounds: int = 5) -> float:
    """The least processor time of some rounds in milliseconds: what others do on the machine hardly touches it."""
    run()
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return 1e3 * best


def parts(setup: Setup) -> dict[str, float]:
    """Milliseconds of one thread per agent step, or per sample learnt."""
    torch.set_num_threads(1)
    alone = dataclasses.replace(setup, threads=1)
    algorithm = PQN(alone, PQNSettings())
    games, count = algorithm._games, algorithm.settings.games
    actions = np.zeros(count, np.int64)
    observations = torch.from_numpy(games.observations.copy())
    rows = observations.repeat(2, 1, 1, 1)
    chosen, returns = torch.zeros(len(rows), dtype=torch.int64), torch.zeros(len(rows))
    with torch.no_grad():
        acting = processor_ms(lambda: forward(algorithm._actor, observations, setup)) / count
    found = {
        "emulator, per step": processor_ms(lambda: games.step(games.required(actions))) / count,
        "choosing actions, per step": acting,
        "learning with pqn, batches of 128, per sample": processor_ms(lambda: algorithm._update(rows, chosen, returns)) / len(rows),
    }
    algorithm.close()
    with tempfile.TemporaryDirectory() as folder:
        learner = DQN(alone, DQNSettings(memory=20_000, first_steps=10**9), Path(folder))
        for _ in range(40):
            learner.advance()
        chance, numbers = np.random.default_rng(0), learner.settings
        batch = learner.memory.sample(chance, numbers.batch, numbers.ahead, numbers.discount)
        found["drawing from the replay memory, per sample"] = (
            processor_ms(lambda: learner.memory.sample(chance, numbers.batch, numbers.ahead, numbers.discount)) / numbers.batch
        )
        found["learning with dqn, batches of 32, per sample"] = processor_ms(lambda: learner._update(batch)) / numbers.batch
        learner.close()
    return found


def whole(make: Callable[[Path], PQN | DQN], seconds: float, threads: int) -> float:
    """Agent steps a second of wall time, after a warm-up of two rounds of learning."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        algorithm = make(Path(folder))
        for _ in range(2):
            algorithm.advance()
        start, first = time.monotonic(), algorithm.agent_steps
        while time.monotonic() - start < seconds:
            algorithm.advance()
        speed = (algorithm.agent_steps - first) / (time.monotonic() - start)
        algorithm.close()
    return speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--game", default="breakout")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = find_device(options.device)
    setup = Setup(options.game, "nature", 0, device, supports_bfloat16(device), options.threads, True, Preprocessing())
    print(f"{options.game}, {device}, bfloat16 {'yes' if setup.bfloat16 else 'no'}")
    print("\nprocessor time of one thread")
    for name, ms in parts(setup).items():
        print(f"{name:<48}{ms:7.2f} ms")
    print(f"\nthe whole, {options.threads} threads, agent steps a second of wall time")
    print(f"{'pqn, two passes':<48}{whole(lambda folder: PQN(setup, PQNSettings()), options.seconds, options.threads):7.0f}")
    numbers = DQNSettings(memory=100_000, first_steps=0)
    print(f"{'dqn, two samples per step':<48}{whole(lambda folder: DQN(setup, numbers, folder), options.seconds, options.threads):7.0f}")


if __name__ == "__main__":
    main()
