"""Explaining a trajectory: the right value, nothing lost, black pixels, and the agent that really played."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest
import torch

import rl
import seqxai
from seqxai.errors import InputError

LEDGER = ["input", "initial_state", "bias", "stabilizer", "constant", "target"]


@pytest.fixture(scope="module")
def explained(played, shipped):
    return rl.explain(played, shipped)


def gradient_times_input(agent, seen, values):
    """What LRP-0 must equal on a ReLU network, where relevance is linear in the explained value."""
    pixels = torch.from_numpy(seen).float().requires_grad_()
    return (torch.autograd.grad(values(agent.network(pixels)).sum(), pixels)[0] * pixels).detach().numpy()


@pytest.mark.atari
def test_explains_the_value_of_the_action_taken_and_loses_nothing(explained, played):
    assert explained.method == "lrp/epsilon-gamma-box"
    assert explained.composite == "epsilon-gamma-box"
    expected = played.q_values[np.arange(len(played)), played.chosen]
    np.testing.assert_allclose(explained.explained, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(explained.q_values, played.q_values, rtol=1e-5, atol=1e-5)
    assert sorted(explained.ledger) == sorted(LEDGER)
    np.testing.assert_allclose(explained.relevance.sum(axis=(1, 2, 3)), explained.ledger["input"], rtol=1e-3, atol=1e-4)
    assert explained.balance.max() < 1e-4
    assert explained.balance.shape == (len(played),)


@pytest.mark.atari
def test_a_black_tunnel_has_relevance_under_the_box_rule_and_none_under_epsilon(played, shipped):
    planes = played.planes[:]
    planes[:, 23:37, 33:42] = 0  # two columns of bricks, from the open field to the gap behind the wall
    dug = dataclasses.replace(played, planes=planes)
    q_values = np.concatenate(
        [shipped.q_values(torch.from_numpy(dug.observations()[t : t + 1])) for t in range(len(dug))]
    )
    dug = dataclasses.replace(dug, q_values=q_values)
    tunnel = np.s_[4:, :, 23:37, 33:42]
    assert not dug.observations()[tunnel].any()
    box, epsilon = (rl.explain(dug, shipped, composite=name).relevance for name in ("epsilon-gamma-box", "epsilon"))
    assert (epsilon[tunnel] == 0.0).all()
    assert (np.abs(box[tunnel]).sum(axis=(1, 2, 3)) > 1e-3 * np.abs(box[4:]).sum(axis=(1, 2, 3))).all()
    assert np.abs(epsilon[4:]).sum() > 0.0


@pytest.mark.atari
@pytest.mark.parametrize("target", ["chosen", "largest", "LEFT", "right", "contrast"])
def test_targets_against_gradient_times_input(played, shipped, target):
    rows = np.arange(len(played))
    q_values = played.q_values

    def values(output):
        if target == "chosen":
            return output[rows, played.chosen]
        if target == "largest":
            return output.max(dim=1).values
        if target == "contrast":
            rivals = np.array(
                [
                    max(set(range(4)) - {int(c)}, key=lambda a: q[a])
                    for q, c in zip(q_values, played.chosen, strict=True)
                ]
            )
            return output[rows, played.chosen] - output[rows, rivals]
        return output[:, {"LEFT": 3, "right": 2}[target]]

    told = []
    explained = rl.explain(played, shipped, composite="lrp-0", target=target, batch=50, progress=told.append)
    expected = gradient_times_input(shipped, played.observations(), values)
    np.testing.assert_allclose(explained.relevance, expected, atol=1e-5 * np.abs(expected).max())
    with torch.no_grad():
        exact = values(shipped.network(torch.from_numpy(played.observations())))
    np.testing.assert_allclose(explained.explained, exact, rtol=1e-4, atol=1e-5)
    assert told[-1] == len(played)
    assert told == sorted(told)
    assert explained.target == target


@pytest.mark.atari
def test_the_size_of_a_batch_changes_nothing(explained, played, shipped):
    other = rl.explain(played, shipped, batch=17)
    scale = np.abs(explained.relevance).max()
    np.testing.assert_allclose(other.relevance, explained.relevance, atol=1e-5 * scale)


@pytest.mark.atari
def test_a_composite_object_is_as_good_as_its_name(explained, played, shipped):
    by_object = rl.explain(played, shipped, composite=seqxai.composites.EpsilonGammaBox())
    np.testing.assert_array_equal(by_object.relevance, explained.relevance)


def test_explaining_leaves_the_agent_as_it_was(made_up, untrained):
    before = untrained.fingerprint
    first, second = (rl.explain(made_up, untrained) for _ in range(2))
    assert untrained.fingerprint == before
    assert not untrained.network.training
    np.testing.assert_array_equal(first.relevance, second.relevance)


def test_another_agents_trajectory_is_refused(made_up, untrained):
    played_by_another = dataclasses.replace(made_up, agent_fingerprint="0123456789abcdef", agent_steps=99)
    with pytest.raises(
        InputError,
        match=r"played by another agent \(weights 0123456789abcdef, 99 agent steps\) than the one given \(weights "
        + untrained.fingerprint,
    ):
        rl.explain(played_by_another, untrained)
    with pytest.raises(InputError, match="played by another agent"):
        rl.explain(dataclasses.replace(made_up, actions=("LEFT", "NOOP", "FIRE", "RIGHT")), untrained)


def test_values_the_agent_did_not_have_are_refused(made_up, untrained):
    wrong = made_up.q_values.copy()
    wrong[6, 2] += 0.5
    with pytest.raises(InputError, match=r"decision 6: the network gives Q-values .* the trajectory recorded"):
        rl.explain(dataclasses.replace(made_up, q_values=wrong), untrained)


def test_wrong_arguments(made_up, untrained):
    text = "unknown target 'UP': expected one of chosen, largest, contrast, NOOP, FIRE, RIGHT, LEFT"
    with pytest.raises(InputError, match=re.escape(text)):
        rl.explain(made_up, untrained, target="UP")
    with pytest.raises(InputError, match="batch should be at least 1, got 0"):
        rl.explain(made_up, untrained, batch=0)
    explain = inspect.unwrap(rl.explain)  # below the type checks that only these tests have
    with pytest.raises(InputError, match=r"batch should be a whole number, got 2\.5"):
        explain(made_up, untrained, batch=2.5)
    with pytest.raises(InputError, match="unknown target None: expected one of chosen, largest"):
        explain(made_up, untrained, target=None)
    with pytest.raises(InputError, match=r"one of epsilon, lrp-0, .* got 'no-such-rule'"):
        rl.explain(made_up, untrained, composite="no-such-rule")


def test_an_empty_trajectory_is_refused(made_up, untrained):
    arrays = {
        field.name: getattr(made_up, field.name)[:0]
        for field in dataclasses.fields(made_up)
        if isinstance(getattr(made_up, field.name), np.ndarray)
    }
    with pytest.raises(InputError, match="the trajectory is empty: there is no decision to explain"):
        rl.explain(dataclasses.replace(made_up, **arrays), untrained)
