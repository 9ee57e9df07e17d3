"""Trained agents on disk: our own format, read and written without ever running code from a file."""

from rl.checkpoints.agent import Agent as Agent
from rl.checkpoints.agent import Score as Score
from rl.checkpoints.native import load as load
from rl.checkpoints.native import save_agent as save_agent

__all__ = ["Agent", "Score", "load", "save_agent"]
