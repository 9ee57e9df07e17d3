"""What an evolution shows, in words and numbers: a caption beside the film."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl.caption import SUFFIXES, versions
from rl.evolution.panels import TARGET_WORDS
from rl.evolution.stages import Evolution
from rl.games import display_name
from seqxai.files import written_whole


def evolution_caption(evolution: Evolution, files: Sequence[Path], table: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything a reader needs to compare or to make it again, as plain values that JSON can hold.

    Args:
        evolution: what is shown.
        files: where.
        table: a row per checkpoint, see :meth:`rl.evolution.Tally.table`.
    """
    trajectory = evolution.trajectory
    return {
        "files": [path.name for path in files],
        "game": trajectory.game,
        "played": {
            "by_agent_steps": None if evolution.on_policy else trajectory.agent_steps,
            "seed": trajectory.seed,
            "epsilon": trajectory.epsilon,
        },
        "target": evolution.target,
        "composite": evolution.composite,
        "rules": [{"layer": layer, "rule": rule} for layer, rule in evolution.rules],
        "scale": {
            "full_colour": evolution.limit,
            "unit": "of the explained value, per observed pixel, summed over the 4 frames of an observation",
            "quantile": evolution.quantile,
            "of": "the checkpoint with the strongest relevance",
        },
        "conservation": {"largest_gap": evolution.balance},
        "checkpoints": [
            {"weights": stage.agent.fingerprint} | row for stage, row in zip(evolution.stages, table, strict=True)
        ],
        "versions": versions(),
    }


def _in_words(facts: dict[str, Any]) -> str:
    """A caption as sentences for a paper or a slide."""
    steps = facts["played"]["by_agent_steps"]
    states = "each in a game of its own" if steps is None else f"all on the same states, played by the agent of {steps:,} agent steps"
    target = TARGET_WORDS.get(facts["target"], f"the action {facts['target'].upper()}")
    rules = "; ".join(f"{one['layer']}: {one['rule']}" for one in facts["rules"])
    shown = ", ".join(f"{row['agent_steps']:,} ({row['weights']})" for row in facts["checkpoints"])
    lines = (
        f"{display_name(facts['game'])}, seed {facts['played']['seed']}: {len(facts['checkpoints'])} checkpoints of one training, "
        f"{states}.",
        f"Checkpoints by agent steps, with their weights: {shown}.",
        f"Layer-wise relevance propagation of {target}; {facts['composite']}, that is {rules}.",
        f"Full colour at ±{facts['scale']['full_colour']:.3g} {facts['scale']['unit']}, one scale for all: "
        f"{100 * facts['scale']['quantile']:g} % of the pixels of {facts['scale']['of']} are below.",
        f"Sums are off by at most {facts['conservation']['largest_gap']:.1e}.",
        "Made with " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) + ".",
    )
    return "\n".join(lines) + "\n"


def write_evolution_caption(
    path: str | os.PathLike[str], evolution: Evolution, files: Sequence[Path], table: list[dict[str, Any]]
) -> None:
    """Write a caption.

    Args:
        path: ending in ``.txt`` for sentences or in ``.json`` for numbers.
        evolution: what is shown.
        files: where.
        table: a row per checkpoint, see :meth:`rl.evolution.Tally.table`.

    Raises:
        InputError: the path cannot be written.
    """
    facts = evolution_caption(evolution, files, table)
    with written_whole(path, SUFFIXES) as partial:
        if Path(path).suffix.lower() == ".json":
            partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            partial.write_text(_in_words(facts), encoding="utf-8")
