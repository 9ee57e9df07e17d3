"""Explaining a trajectory: the right value, nothing lost, black pixels, and the agent that really played."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re

import numpy as np
import pytest
import torch

import rl
import seqxai
from rl.checkpoints import Agent
from rl.network import DuelingNetwork
from rl.targets import check_target
from seqxai.errors import InputError
from tests.rl.conftest import trajectory_of

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
@pytest.mark.parametrize("target", ["chosen", "largest", "LEFT", "right", "contrast", "contrast-mean"])
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
        if target == "contrast-mean":
            return output[rows, played.chosen] - (output.sum(dim=1) - output[rows, played.chosen]) / 3
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


@pytest.fixture(scope="module")
def dueling():
    """A dueling agent with the weights of the first moment, and random screens it has seen."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = DuelingNetwork(4).double().eval().requires_grad_(False)
    agent = Agent(network, "breakout", ("NOOP", "FIRE", "RIGHT", "LEFT"), architecture="dueling")
    return agent, torch.randint(0, 256, (3, 4, 84, 84)).double()


def units(agent, seen, *wanted, composite):
    """Relevance of several inner units, and what each explained."""
    lrp = seqxai.LRP(agent.network, composite=composite, ledger=True)
    found = [lrp.attribute(seen, target=target) for target in wanted]
    return [f.relevance.double().numpy() for f in found], [f.explained.double().numpy() for f in found], found


BOX = seqxai.composites.EpsilonGammaBox(low=0.0, high=255.0)


@pytest.mark.parametrize("composite", [BOX, "epsilon", "lrp-0"], ids=["box", "epsilon", "lrp-0"])
def test_the_value_stream_is_never_dropped(dueling, composite):
    """Q = V + A - mean A: the relevance of Q is the sum of the relevances of its parts, and every ledger closes."""
    agent, seen = dueling
    advantages = [seqxai.targets.Unit("advantage", b) for b in range(4)]
    wanted = [1, seqxai.targets.Unit("value", 0), *advantages]
    (q, v, *a), (q_explained, v_explained, *a_explained), found = units(agent, seen, *wanted, composite=composite)
    np.testing.assert_allclose(q_explained, v_explained + a_explained[1] - np.mean(a_explained, axis=0), rtol=1e-9)
    precision = 1e-9 if composite == "lrp-0" else 1e-4  # one ε for the sum of the streams, one for each of its parts
    np.testing.assert_allclose(q, v + a[1] - np.mean(a, axis=0), atol=precision * np.abs(q).max())
    assert np.abs(v).sum() > 0.1 * np.abs(q).sum()
    for attribution in found:
        assert attribution.ledger.closed()


def test_targets_of_a_dueling_network(dueling):
    agent, _ = dueling
    agent = dataclasses.replace(agent, network=copy.deepcopy(agent.network).float())
    trajectory = trajectory_of(agent, 6)
    value = rl.explain(trajectory, agent, target="state-value")
    with torch.no_grad():
        features = agent.network.body(torch.from_numpy(trajectory.observations()))
        expected = agent.network.value(agent.network.value_relu(agent.network.value_hidden(features)))[:, 0]
    np.testing.assert_allclose(value.explained, expected, rtol=1e-4, atol=1e-6)
    assert value.balance.max() < 1e-5
    assert value.label(0) == "V(state)"
    mean = rl.explain(trajectory, agent, target="contrast-mean", composite="lrp-0")
    others = (trajectory.q_values.sum(1) - trajectory.q_values[np.arange(6), trajectory.chosen]) / 3
    np.testing.assert_allclose(mean.explained, trajectory.q_values[np.arange(6), trajectory.chosen] - others, atol=1e-5)
    # the state's value is the same for all actions, so a contrast has none of it: the advantage stream alone explains it
    advantage = [units(agent, torch.from_numpy(trajectory.observations()), seqxai.targets.Unit("advantage", b), composite="lrp-0")[0][0]
                 for b in range(4)]  # fmt: skip
    weights = np.full((6, 4), -1 / 3)
    weights[np.arange(6), trajectory.chosen] = 1.0
    expected = np.einsum("da,adchw->dchw", weights, np.stack(advantage))
    np.testing.assert_allclose(mean.relevance, expected, atol=1e-4 * np.abs(expected).max())
    assert mean.label(2) == f"Q({agent.actions[trajectory.chosen[2]]}) - mean of the others"


def test_a_state_value_needs_a_dueling_network(made_up, untrained):
    with pytest.raises(InputError, match=r"'state-value' needs a dueling network, .* this one is a NatureNetwork; choose"):
        rl.explain(made_up, untrained, target="state-value")


def test_a_contrast_needs_two_actions():
    with pytest.raises(InputError, match="the target 'contrast' compares actions, but there is only NOOP"):
        check_target("contrast", ("NOOP",))


def test_a_stream_gives_what_explain_keeps(made_up, untrained):
    whole = rl.explain(made_up, untrained, target="contrast")
    stream = rl.explain_stream(made_up, untrained, target="contrast")
    assert (len(stream), stream.method, stream.composite) == (len(whole), whole.method, whole.composite)
    for stored in (whole, stream):
        parts = list(stored.parts(2, 9, size=3))
        assert [part.rows.tolist() for part in parts] == [[2, 3, 4], [5, 6, 7], [8]]
        for part in parts:
            np.testing.assert_allclose(part.relevance, whole.relevance[part.rows], atol=1e-5 * np.abs(whole.relevance).max())
            np.testing.assert_allclose(part.explained, whole.explained[part.rows], atol=1e-5)
            np.testing.assert_allclose(part.balance, np.zeros(len(part)), atol=1e-5)
    assert [stream.label(d) for d in range(10)] == [whole.label(d) for d in range(10)]


def test_wrong_arguments(made_up, untrained):
    text = "unknown target 'UP': expected one of chosen, largest, contrast, contrast-mean, state-value, NOOP, FIRE, RIGHT, LEFT"
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
