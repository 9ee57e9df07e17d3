"""The agent a checkpoint holds: weights, and everything one must know to use them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, UInt8

from rl.network import QNetwork
from rl.preprocessing import Preprocessing


@dataclass(frozen=True)
class Score:
    """How well an agent played when it was saved.

    Attributes:
        mean: raw game points, mean over the games.
        max: raw game points of the best game.
        games: number of full games.
    """

    mean: float
    max: float
    games: int


@dataclass(frozen=True)
class Guess:
    """Something a file does not say, and what was assumed.

    Attributes:
        name: of the choice, with which it can be overridden.
        value: what was assumed.
        reason: why.
    """

    name: str
    value: object
    reason: str


@dataclass(frozen=True, eq=False)
class Agent:
    """A trained agent.  It plays by taking the action of the largest Q-value.

    Attributes:
        network: in float32, in evaluation mode, without gradients.
        game: the emulator's spelling.
        actions: names, in the order of the network's outputs.
        preprocessing: how the screen becomes an observation.
        agent_steps: decisions taken in training, all parallel games together.
        score: None where it was not measured.
        algorithm: how it was trained, in words.
        architecture: the network's name in the checkpoint.
        source: whose format the checkpoint has or had, in words.
        guesses: what the file did not say.
        warnings: what looks wrong.
    """

    network: QNetwork
    game: str
    actions: tuple[str, ...]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    agent_steps: int = 0
    score: Score | None = None
    algorithm: str = "unknown"
    architecture: str = "nature"
    source: str = "seqxai"
    guesses: tuple[Guess, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any weight: which agent played a trajectory."""
        digest = hashlib.sha256(self.architecture.encode())
        layout = getattr(self.network, "layout", None)
        if layout is not None:
            digest.update(layout.to_json().encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def q_values(self, observation: UInt8[torch.Tensor, "batch 4 84 84"]) -> Float[torch.Tensor, "batch actions"]:
        """The network's Q-values, in the order of `actions`; of a policy its logits."""
        return self.network(observation)
