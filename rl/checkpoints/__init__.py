"""Trained agents on disk: our own format and those of other libraries, read without ever running code from a file."""

from rl.checkpoints.agent import Agent as Agent
from rl.checkpoints.agent import Guess as Guess
from rl.checkpoints.agent import Score as Score
from rl.checkpoints.native import save_agent as save_agent
from rl.checkpoints.reading import load as load
from rl.checkpoints.run import Checkpoint as Checkpoint
from rl.checkpoints.run import Run as Run
from rl.checkpoints.run import load_run as load_run

__all__ = ["Agent", "Checkpoint", "Guess", "Run", "Score", "load", "load_run", "save_agent"]
