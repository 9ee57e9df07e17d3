"""The game's own time, which every film, figure and command counts in."""

DECISIONS_PER_SECOND = 15
"""An agent decides on every fourth of 60 frames a second."""


def clock(decision: int) -> str:
    """When a decision is taken, in minutes and seconds of play such as ``0:08.5``.

    Args:
        decision: counted from 0.
    """
    seconds = decision / DECISIONS_PER_SECOND
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
