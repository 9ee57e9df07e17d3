"""What a film or a figure shows, in words and numbers: a caption beside it, to print or to compute with."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from rl.explaining import Decisions
from rl.games import display_name
from rl.targets import in_words as target_in_words
from rl.video import Video
from seqxai.files import written_whole

SUFFIXES = (".txt", ".json")
PACKAGES = ("seqxai", "torch", "numpy", "av", "ale-py")


def caption(video: Video, decisions: Decisions) -> dict[str, Any]:
    """Everything a reader needs to compare or to make it again, as plain values that JSON can hold."""
    trajectory, tally = decisions.trajectory, video.tally
    shares = (100 * tally.mean(tally.shares)).round(1).tolist()
    return {
        "files": [path.name for path in video.paths],
        "game": trajectory.game,
        "agent": {"fingerprint": trajectory.agent_fingerprint, "agent_steps": trajectory.agent_steps},
        "played": {"seed": trajectory.seed, "epsilon": trajectory.epsilon},
        "decisions": {"first": video.start + 1, "last": video.start + video.frames, "per_second": video.fps},
        "method": decisions.method,
        "rules": [{"layer": layer, "rule": rule} for layer, rule in decisions.rules],
        "target": decisions.target,
        "quantity": decisions.quantity,
        "scale": {
            "full_colour": video.scale.limit,
            "unit": "of the explained value, per observed pixel, summed over the 4 frames of an observation",
            "quantile": video.scale.quantile,
            "measured_on": video.scale.measured,
            "in_words": str(video.scale),
        },
        "conservation": {
            "largest_gap": tally.balance,
            "mean_explained": tally.mean(tally.explained),
            "mean_ledger": {name: tally.mean(value) for name, value in tally.ledger.items()},
        },
        "share_of_frames_percent": dict(zip(("3 before", "2 before", "1 before", "now"), shares, strict=True)),
        "picture": {"layout": video.layout, "palette": video.palette, "width": video.width, "height": video.height},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What made it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def in_words(facts: dict[str, Any]) -> str:
    """A caption as sentences for a paper or a slide."""
    ledger = {name: value for name, value in facts["conservation"]["mean_ledger"].items() if abs(value) >= 0.0005}
    parts = " + ".join(f"{'pixels' if name == 'input' else name.replace('_', ' ')} {value:.3f}" for name, value in ledger.items())
    shares = ", ".join(f"{name} {value} %" for name, value in facts["share_of_frames_percent"].items())
    rules = "; ".join(f"{one['layer']}: {one['rule']}" for one in facts["rules"])
    palette, target = facts["picture"]["palette"].split("-"), facts["target"]
    lines = (
        f"{display_name(facts['game'])}, decisions {facts['decisions']['first']} to {facts['decisions']['last']}, "
        f"{facts['decisions']['per_second']:g} a second (15 is the game's own speed), seed {facts['played']['seed']}.",
        f"Agent after {facts['agent']['agent_steps']:,} decisions of training (weights {facts['agent']['fingerprint']}).",
        f"Layer-wise relevance propagation of {target_in_words(target, facts['quantity'])}; {facts['method']}, that is {rules}.",
        f"{palette[0].capitalize()}: for the explained value; {palette[1]}: against it; black, or the game: nothing.",
        f"{facts['scale']['in_words'][0].upper()}{facts['scale']['in_words'][1:]}.",
        f"On average {facts['conservation']['mean_explained']:.3f} = {parts}; sums are off by at most "
        f"{facts['conservation']['largest_gap']:.1e}.",
        f"Share of the absolute relevance on the four frames: {shares}.",
        "Made with " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) + ".",
    )
    return "\n".join(lines) + "\n"


def write_caption(path: str | os.PathLike[str], video: Video, decisions: Decisions) -> None:
    """Write a caption.

    Args:
        path: ending in ``.txt`` for sentences or in ``.json`` for numbers.
        video: what was rendered.
        decisions: what it shows.

    Raises:
        InputError: the path cannot be written.
    """
    facts = caption(video, decisions)
    with written_whole(path, SUFFIXES) as partial:
        if Path(path).suffix.lower() == ".json":
            partial.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        else:
            partial.write_text(in_words(facts), encoding="utf-8")
