"""How long loading a foreign agent takes beyond importing torch: the package, the emulator's list of games, the file, the fingerprint.

The agents are full-size ones with random weights, written here under the names of their libraries.  Each is loaded in a process of its own.
"""

from __future__ import annotations

import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

ACTIONS, ATOMS, RUNS = 4, 51, 3
HERE = Path(__file__).parent


def nature(outputs: int) -> nn.Sequential:
    """The network of Mnih et al. 2015."""
    convolutions = [nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, outputs))


def noisy(name: str, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
    """A noisy layer of Kaixhin's Rainbow."""
    weights = {f"{name}.weight_{part}": torch.randn(outputs, inputs) / inputs**0.5 for part in ("mu", "sigma", "epsilon")}
    return weights | {f"{name}.bias_{part}": torch.randn(outputs) for part in ("mu", "sigma", "epsilon")}


def write(folder: Path) -> list[Path]:
    """Files of three kinds."""
    dqn, c51, rainbow = (folder / name for name in ("dqn.cleanrl_model", "c51.gz", "rainbow.pth"))
    torch.save({f"network.{name}": tensor for name, tensor in nature(ACTIONS).state_dict().items()}, dqn)
    state = nature(ACTIONS * ATOMS).state_dict()
    places = {7: "head.0", 9: "head.2"}
    named = {f"_AtariNet__{places.get(int(n.split('.')[0]), 'features.' + n.split('.')[0])}.{n.split('.')[1]}": t for n, t in state.items()}
    torch.save({"estimator_state": named | {"_AtariNet__support": torch.linspace(-10, 10, ATOMS)}}, c51)
    c51.write_bytes(gzip.compress(c51.read_bytes(), 1))
    layers = {f"convs.{name}": tensor for name, tensor in nature(1).state_dict().items() if name[0] in "024"}
    for name, inputs, outputs in (("fc_h_v", 3136, 512), ("fc_h_a", 3136, 512), ("fc_z_v", 512, ATOMS), ("fc_z_a", 512, ACTIONS * ATOMS)):
        layers |= noisy(name, inputs, outputs)
    torch.save(layers, rainbow)
    return [dqn, c51, rainbow]


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        for path in write(Path(folder)):
            command = [sys.executable, str(HERE / "_load_one.py"), str(path)]
            rows = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(RUNS)]
            clock, worked = ([row[i] for row in rows] for i in (0, 1))
            size, middle = path.stat().st_size / 1e6, statistics.median(clock)
            print(
                f"{rows[0][2]:<20}{size:5.1f} MB   {min(clock):.2f} s on the clock at best, {middle:.2f} s in the middle; "
                f"{min(worked):.2f} s of the processor"
            )


if __name__ == "__main__":
    main()
