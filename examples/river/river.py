"""A model of one's own, as `seqxai series explain` takes it: a function (here the class) that builds the network without arguments.

It reads 365 days of weather, normalised, and gives the discharge of a river on the last of them. `river.safetensors` are its weights,
`river.csv` three years of weather, `scale.csv` the mean and deviation of the years it was trained on; all written by
`python experiments/kratzert2019_hydrology/run.py --example examples/river`.
"""

import torch
from torch import nn


class Runoff(nn.Module):
    """(batch, days, 5) to (batch, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 10, batch_first=True)
        self.dense = nn.Linear(10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Discharge, in deviations from its mean."""
        return self.dense(self.lstm(x)[0][:, -1])
