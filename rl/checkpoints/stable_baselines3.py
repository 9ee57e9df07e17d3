"""Stable-Baselines3: DQN, PPO and A2C, and QR-DQN of sb3-contrib, from the zip that ``model.save`` writes.

Of the zip, ``policy.pth`` is read, and what ``data`` says in plain JSON: training steps, the hidden layers' activation.
Names: ``q_net.features_extractor.cnn.{0,2,4}``, ``q_net.features_extractor.linear.0`` and ``q_net.q_net.*`` (QR-DQN:
``quantile_net.*``); of PPO and A2C ``features_extractor.*``, again as ``pi_`` and ``vf_features_extractor.*``,
``mlp_extractor.*``, ``action_net``, ``value_net``.  The library divides by 255 before the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rl.checkpoints.agent import Guess
from rl.checkpoints.archive import Content
from rl.checkpoints.parts import Found, Weights, check_features, convolutions, dense, numbered, per_action, shape, widths
from rl.layout import Layout
from rl.preprocessing import Preprocessing
from seqxai.errors import CheckpointError

SOURCE = "Stable-Baselines3"
PREPROCESSING = Preprocessing(colour="rgb-pooled")
"""That of its AtariWrapper and VecFrameStack, with which the zoo trains."""

ACTIVATION = re.compile(r"torch\.nn\.modules\.activation\.(\w+)")
OURS = {"ReLU": "relu", "ELU": "elu", "Tanh": "tanh", "LeakyReLU": "leaky_relu", "SiLU": "silu", "GELU": "gelu"}


def matches(content: Content) -> bool:
    """Whether the weights are named as by this library, in its zip or on their own."""
    return any(name.startswith(("q_net.", "quantile_net.", "action_net.")) for name in content.stored)


def read(content: Content, choices: Mapping[str, Any]) -> Found:
    """The agent.

    Raises:
        CheckpointError: no picture-seeing agent of this library.
    """
    for kind, algorithm in (("q_net", "DQN"), ("quantile_net", "QR-DQN")):
        if any(name.startswith(f"{kind}.") for name in content.stored):
            return _with_facts(content, _q_learner(content, kind, algorithm, choices))
    return _with_facts(content, _actor_critic(content, choices))


def _extractor(content: Content, prefix: str, padding: int) -> dict[str, str]:
    """The names of the shared layers: ours to theirs."""
    if f"{prefix}.cnn.0.weight" not in content.stored:
        raise CheckpointError(
            f"{content.path} was not trained on pictures by Stable-Baselines3's CnnPolicy (no tensor '{prefix}.cnn.0.weight'); explain it "
            "in its environment with rl.ExplainedEnv and rl.sb3"
        )
    convs = {f"conv{i}": f"{prefix}.cnn.{place}" for i, place in enumerate(numbered(content, f"{prefix}.cnn."), 1)}
    convolutions(content, list(convs.values()), padding)
    return convs | {"hidden1": f"{prefix}.linear.0"}


def _q_learner(content: Content, kind: str, algorithm: str, choices: Mapping[str, Any]) -> Found:
    """DQN and QR-DQN."""
    padding = choices.get("padding", 0)
    names = _extractor(content, f"{kind}.features_extractor", padding)
    places = numbered(content, f"{kind}.{kind}.")
    if not places:
        raise CheckpointError(f"{content.path} lacks the tensors '{kind}.{kind}.*'; save the model again")
    *inner, last = [f"{kind}.{kind}.{place}" for place in places]
    quantiles, guesses = 1, list[Guess]()
    if kind == "quantile_net":
        quantiles, guesses = (choices["quantiles"], []) if choices.get("quantiles", 0) > 0 else _quantiles(content, last)
    actions = per_action(content, last, quantiles)
    layout = _layout(
        content, names, choices, default="relu", head_hidden=widths(content, inner), distribution=_kind(quantiles), atoms=quantiles
    )
    names |= {f"values_hidden{i}": theirs for i, theirs in enumerate(inner, 1)} | {"values": last}
    read = _by_action(dense(content, names), quantiles) if quantiles > 1 else dense(content, names)
    return Found(f"{SOURCE} {algorithm}", layout, actions, read, PREPROCESSING, algorithm, guesses=guesses)


def _kind(quantiles: int) -> str:
    return "quantile" if quantiles > 1 else "none"


def _layout(content: Content, names: dict[str, str], choices: Mapping[str, Any], default: str, **fields: Any) -> Layout:
    """The layout, its shared layers read off the weights."""
    convs = [theirs for ours, theirs in names.items() if ours.startswith("conv")]
    layout = Layout(
        convolutions(content, convs, choices.get("padding", 0)),
        widths(content, [names["hidden1"]]),
        activation=choices.get("activation", "relu"),
        head_activation=choices.get("head_activation", _activation(content, default)),
        divisor=choices.get("divisor", _divisor(content)),
        **fields,
    )
    check_features(content, layout, names["hidden1"])
    return layout


def _said(content: Content, name: str) -> Any:
    """One of the model's options, if it is told in plain text."""
    options = content.text.get("policy_kwargs")
    return options.get(name) if isinstance(options, dict) else None


def _activation(content: Content, default: str) -> str:
    """Of the hidden layers after the picture-seeing part, which itself always has ReLU."""
    match = ACTIVATION.search(str(_said(content, "activation_fn")))
    if match is None:
        return default
    if match[1] not in OURS:
        raise CheckpointError(
            f"{content.path} has the activation {match[1]}, which is not known here; build the network in Python and explain it with "
            "rl.ExplainedEnv"
        )
    return OURS[match[1]]


def _divisor(content: Content) -> float:
    return 1.0 if _said(content, "normalize_images") is False else 255.0


def _quantiles(content: Content, last: str) -> tuple[int, list[Guess]]:
    """How many quantiles each action has: told by the model's options or, with the number of actions, by the outputs."""
    outputs = shape(content, f"{last}.weight", 2)[0]
    told = _said(content, "n_quantiles")
    if type(told) is int and told > 0:
        return told, []
    space = content.text.get("action_space")
    actions = str(space.get("n", "")) if isinstance(space, dict) else ""
    if actions.isdecimal() and 0 < int(actions[:6]) <= outputs and outputs % int(actions[:6]) == 0:
        return outputs // int(actions[:6]), []
    if outputs % 200:
        raise CheckpointError(
            f"{content.path}: '{last}' has {outputs} outputs, and how many quantiles each action has is not said; say it, such as "
            "quantiles=25 (--set quantiles=25)"
        )
    return 200, [Guess("quantiles", 200, "the library's default; the file does not say it")]


def _by_action(read: Weights, quantiles: int) -> Weights:
    """The library's outputs go through the actions first and then the quantiles; ours the other way round."""

    def reordered() -> dict[str, Tensor]:
        found = read()
        for kind in ("weight", "bias"):
            rows = found[f"values.{kind}"]
            found[f"values.{kind}"] = rows.view(quantiles, -1, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape).contiguous()
        return found

    return reordered


def _actor_critic(content: Content, choices: Mapping[str, Any]) -> Found:
    """PPO and A2C."""
    if any(name.startswith("lstm_actor.") for name in content.stored):
        raise CheckpointError(
            f"{content.path} is a recurrent policy; explain it in its environment with rl.ExplainedEnv and recurrent=..."
        )
    padding, own = choices.get("padding", 0), _own_critic(content)
    actor = "features_extractor" if not own and "features_extractor.cnn.0.weight" in content.stored else "pi_features_extractor"
    names = _extractor(content, actor, padding)
    hidden = {
        part: [f"mlp_extractor.{part}_net.{place}" for place in numbered(content, f"mlp_extractor.{part}_net.")]
        for part in ("policy", "value")
    }
    layout = _layout(
        content, names, choices, default="tanh", head="policy", own_critic_body=own,
        head_hidden=widths(content, hidden["policy"]), critic_hidden=widths(content, hidden["value"]),
    )  # fmt: skip
    names |= {f"logits_hidden{i}": theirs for i, theirs in enumerate(hidden["policy"], 1)} | {"logits": "action_net"}
    names |= {f"value_hidden{i}": theirs for i, theirs in enumerate(hidden["value"], 1)} | {"value": "value_net"}
    if own:
        names |= {f"critic_{ours}": theirs for ours, theirs in _extractor(content, "vf_features_extractor", padding).items()}
    actions = shape(content, "action_net.weight", 2)[0]
    algorithm = "A2C" if "gae_lambda" in content.text and "clip_range" not in content.text else "PPO"
    found = Found(f"{SOURCE} {algorithm}", layout, actions, dense(content, names), PREPROCESSING, algorithm)
    if "clip_range" not in content.text and "gae_lambda" not in content.text:
        found.source, found.algorithm = f"{SOURCE} actor-critic", "actor-critic"
    return found


def _own_critic(content: Content) -> bool:
    """Whether the critic sees with layers of its own: the model's options tell it, or its weights, which else are the actor's."""
    told = _said(content, "share_features_extractor")
    both = [f"{part}_features_extractor.cnn.0.weight" for part in ("pi", "vf")]
    if told is not None or not all(name in content.stored for name in both):
        return told is False
    actors, critics = map(content.tensor, both)
    return not torch.equal(actors, critics)


def _with_facts(content: Content, found: Found) -> Found:
    """What the zip says besides: training steps, and whether the pixels were standardised by VecNormalize, which it does not say."""
    steps = content.text.get("num_timesteps")
    if type(steps) is int and 0 <= steps < 10**18:
        found.agent_steps = steps
    if not content.text:
        found.guesses.append(Guess("head_activation", found.layout.head_activation, "the library's default; weights alone do not say it"))
    reason = "as the library's AtariWrapper does; the file does not say how the agent saw"
    found.guesses.append(Guess("preprocessing", "AtariWrapper, 4 frames", reason))
    return found
