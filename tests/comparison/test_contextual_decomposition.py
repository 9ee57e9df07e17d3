"""Contextual decomposition against a NumPy twin that follows one phrase of one sample through time, and its sums."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqxai
from seqxai.comparison import ContextualDecomposition
from seqxai.comparison.decomposition import Decomposition
from seqxai.errors import InputError, TargetError, UnsupportedOperation
from seqxai.targets import Contrast, Index, LogOdds, Target, Unit
from tests.comparison.models import IDS, LENGTHS, STEPS, Last, X, last, packed, words
from tests.contracts import Wrapped, assert_close, random, seeded

Array = NDArray[np.float64]
Pair = tuple[Array, Array]


def sigma(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def two(a: Callable[[Array], Array], beta: Array, gamma: Array) -> Pair:
    """Shapley with two players: the mean over both orders of joining."""
    share = np.mean([a(beta) - a(0 * beta), a(beta + gamma) - a(gamma)], 0)
    return share, a(beta + gamma) - share


def three(a: Callable[[Array], Array], beta: Array, gamma: Array, bias: Array) -> tuple[Array, Array, Array]:
    """The two orders in which the bias joins first."""
    orders = [(a(bias + beta) - a(bias), a(bias + beta + gamma) - a(bias + beta))]
    orders += [(a(bias + gamma + beta) - a(bias + gamma), a(bias + gamma) - a(bias))]
    return np.mean([o[0] for o in orders], 0), np.mean([o[1] for o in orders], 0), a(bias)


def cell(x: Pair, h: Pair, c: Pair, weights: list[Array], own: bool) -> tuple[Pair, Pair]:
    """One step for one phrase; every product of two parts is assigned by itself."""
    w, u, b = weights
    sums = [[w_gate @ x[k] + u_gate @ h[k] for k in (0, 1)] for w_gate, u_gate in zip(np.split(w, 4), np.split(u, 4), strict=True)]
    b_i, b_f, b_g, b_o = np.split(b, 4)
    i, f, g = three(sigma, *sums[0], b_i), three(sigma, *sums[1], b_f), three(np.tanh, *sums[2], b_g)
    new = [np.zeros_like(b_i), np.zeros_like(b_i)]
    for p, from_i in zip("βγb", i, strict=True):
        for q, from_g in zip("βγb", g, strict=True):
            phrase = {p, q} in ({"β"}, {"β", "b"}) or ({p, q} == {"b"} and own)
            new[0 if phrase else 1] += from_i * from_g
    for p, from_f in zip("βγb", f, strict=True):
        for q, from_c in zip("βγ", c, strict=True):
            new[0 if q == "β" and p != "γ" else 1] += from_f * from_c
    o = sigma(sum(sums[3]) + b_o)
    return tuple(o * part for part in two(np.tanh, *new)), (new[0], new[1])  # type: ignore[return-value]


def weights_of(lstm: nn.LSTM, suffix: str) -> list[Array]:
    w, u = (getattr(lstm, f"weight_{k}_{suffix}").detach().numpy() for k in ("ih", "hh"))
    biases = [getattr(lstm, f"bias_{k}_{suffix}").detach().numpy() for k in ("ih", "hh")] if lstm.bias else [np.zeros(len(w))] * 2
    return [w, u, biases[0] + biases[1]]


def twin(lstm: nn.LSTM, x: Array, phrase: int, own: bool = True) -> tuple[list[Pair], Array]:
    """β and γ of the last layer's output at every step, and of the final h of its last direction; x (T, F) of one sample."""
    sequence = [(step * (t == phrase), step * (t != phrase)) for t, step in enumerate(x)]
    final = np.zeros(0)
    for layer in range(lstm.num_layers):
        outputs = []
        for suffix in (f"l{layer}", f"l{layer}_reverse")[: 2 if lstm.bidirectional else 1]:
            h = c = (np.zeros(lstm.hidden_size), np.zeros(lstm.hidden_size))
            order = range(len(x))[:: -1 if suffix.endswith("reverse") else 1]
            found: dict[int, Pair] = {}
            for t in order:
                h, c = cell(sequence[t], h, c, weights_of(lstm, suffix), own and t == phrase)
                found[t] = h
            outputs.append(found)
            final = h[0]
        sequence = [tuple(np.concatenate([o[t][k] for o in outputs]) for k in (0, 1)) for t in range(len(x))]
    return sequence, final


LAYERS = {"one": {}, "no bias": {"bias": False}, "both": {"bidirectional": True}, "stack": {"num_layers": 2, "bidirectional": True}}


@pytest.mark.parametrize("biases", ["phrase", "rest"])
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS.keys())
def test_the_phrase_of_every_step(options, biases):
    model = last(**options)
    found = ContextualDecomposition(model, biases=biases, batch=9).attribute(X, target=1)
    weight = model.head.weight.detach().numpy()
    expected = [[weight[1] @ twin(model.lstm, x, t, biases == "phrase")[0][-1][0] for t in range(STEPS)] for x in X.numpy()]
    assert_close(found.relevance.sum(-1), torch.tensor(np.array(expected)), 1e-12)
    assert torch.equal(found.relevance[..., 0], found.relevance[..., 1])
    assert_close(found.explained[None], model(X).detach()[None, :, 1], 1e-14)


def sums(model: nn.Module, x: Tensor, target: Target, dim: int = 1, args: tuple[Tensor, ...] = ()) -> None:
    """β + γ is the value, for every phrase."""
    trace = seqxai.capture(model, x, args)
    goal = target.value(trace, trace.outputs[0])
    found = Decomposition(trace, 0, dim, range(x.shape[dim]), [goal]).of(goal)
    expected = trace.data(goal).expand_as(found.beta)
    assert_close(found.beta + found.gamma, expected, 1e-10)
    assert bool(found.beta.flatten(1).abs().sum(1).min() > 0)
    assert bool(found.gamma.flatten(1).abs().sum(1).min() > 0)


def _read_outs(x: Tensor) -> Tensor:
    """Routes, means, shifts, scales and activations that are not zero at zero."""
    hidden = HIDDEN(x)[0]
    hidden[:, 0] *= 2.0
    both = torch.cat([hidden.mean(1), torch.ones(len(x), 1, dtype=x.dtype), hidden[:, -1].sigmoid()], 1)
    convolved = nn.functional.conv1d(hidden.transpose(1, 2), KERNEL, bias=KERNEL[:, 0, 0])
    return torch.relu(both @ READ.T / 3 - 0.1) + torch.cos(convolved.sum(2)) - hidden[:, 1]


HIDDEN = seeded(lambda: nn.LSTM(2, 3, batch_first=True), 8)
KERNEL, READ = random(3, 3, 2, seed=9), random(3, 7, seed=10)


def test_both_parts_sum_to_the_value():
    for options in ({}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2}, {"num_layers": 3, "dropout": 0.4}):
        model = last(**options)
        sums(model.train(), X, Index(0))
        sums(model, X, Unit("lstm", call=0))
    sums(Wrapped(_read_outs), X, Index(0))
    sums(packed(bidirectional=True), X, Index(0), args=(LENGTHS.flip(0),))
    sums(words(), IDS, Index(0))


def test_time_first_inside_the_model():
    layer, head = seeded(lambda: nn.LSTM(2, 3), 8), random(3, 3, seed=4)
    found = ContextualDecomposition(lambda x: layer(x.transpose(0, 1))[0][-1] @ head).attribute(X, target=1)
    same = ContextualDecomposition(lambda x: HIDDEN(x)[0][:, -1] @ head).attribute(X, target=1)
    assert_close(found.relevance, same.relevance, 1e-12)


def test_time_in_another_dimension():
    model = last()
    found = ContextualDecomposition(lambda x: model(x.transpose(1, 2)), dim=2).attribute(X.transpose(1, 2), target=1)
    assert_close(found.relevance.transpose(1, 2), ContextualDecomposition(model).attribute(X, target=1).relevance, 1e-12)


def test_packed_sequences_end_where_they_end():
    model = packed(bidirectional=True)
    found = ContextualDecomposition(model).attribute(X, target=1, args=(LENGTHS,)).relevance
    for b, length in enumerate(LENGTHS.tolist()):
        alone = ContextualDecomposition(model).attribute(X[b : b + 1, :length], 1, args=(LENGTHS[b : b + 1],)).relevance
        assert_close(found[b : b + 1, :length], alone, 1e-12)
        assert torch.equal(found[b, length:], torch.zeros(STEPS - length, 2, dtype=torch.float64))

    def padded(x: Tensor, lengths: Tensor) -> Tensor:
        hidden, _ = model.lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return model.head(pad_packed_sequence(hidden, batch_first=True, total_length=STEPS)[0].sum(1))

    sums(Wrapped(lambda x: padded(x, LENGTHS)), X, Index(1))


def test_initial_states_given_and_computed():
    model = last()
    state = random(1, 4, 3, seed=6)

    def given(x: Tensor) -> Tensor:
        return model.head(model.lstm(x, (state, 2 * state))[0][:, -1])

    def computed(x: Tensor) -> Tensor:
        start = torch.tanh(x.mean(1) @ random(2, 3, seed=7)).unsqueeze(0)
        return model.head(model.lstm(x, (start, start + 1))[1][1][0])

    def packed_and_computed(x: Tensor, lengths: Tensor) -> Tensor:
        start = torch.tanh(x.mean(1) @ random(2, 3, seed=7)).unsqueeze(0)
        sequences = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return model.head(model.lstm(sequences, (start, start + 1))[1][1][0])

    for each in (given, computed, lambda x: packed_and_computed(x, LENGTHS)):
        sums(Wrapped(each), X, Index(2))
    found = ContextualDecomposition(packed_and_computed).attribute(X, target=1, args=(torch.full((4,), STEPS),))
    assert_close(found.relevance, ContextualDecomposition(computed).attribute(X, target=1).relevance, 1e-12)


def test_token_ids_are_decomposed_as_their_rows():
    model = words()
    rows = model.embedding(IDS).detach()
    expected = ContextualDecomposition(model.last).attribute(rows, target=1).relevance.sum(-1)
    assert_close(ContextualDecomposition(model).attribute(IDS, target=1).relevance, expected, 1e-12)
    table = model.embedding.weight

    def longer(rows: Tensor) -> Tensor:
        return model.last(torch.cat([rows, table[3].expand(len(rows), 1, 2)], 1))

    def moved(ids: Tensor) -> Tensor:
        padded = torch.cat([ids, torch.full_like(ids[:, :1], 3)], 1)
        return model.last(table.repeat_interleave(3, 0)[padded * 3 + 2])

    expected = ContextualDecomposition(longer).attribute(rows, target=1).relevance.sum(-1)
    assert_close(ContextualDecomposition(moved).attribute(IDS, target=1).relevance, expected, 1e-12)
    sums(Wrapped(moved), IDS, Index(1))


def test_several_inputs_are_decomposed_in_turn():
    model = last()

    def both(a: Tensor, b: Tensor) -> Tensor:
        return model(a) + 2 * b.sum(1)[:, :1]

    a, b = ContextualDecomposition(both).attribute((X, 3 * X), target=1).relevance
    assert_close(a, ContextualDecomposition(model).attribute(X, target=1).relevance, 1e-12)
    assert_close(b.sum(-1), 6 * X[..., 0], 1e-12)


def test_targets_are_combined_linearly():
    explain = ContextualDecomposition(last())
    single = [explain.attribute(X, target=c).relevance for c in range(3)]
    assert_close(explain.attribute(X, target=Contrast(2, 0)).relevance, single[2] - single[0], 1e-12)
    with pytest.raises(TargetError, match=r"expected an index, a contrast or a unit as target, got log-odds of output 1"):
        explain.attribute(X, target=LogOdds(1))


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last, self.norm = Last(), nn.LayerNorm(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.last(x))


REFUSED = {
    "product": (lambda x: (x * x.tanh()).sum(1), r"mul\(\(4, 5, 2\), \(4, 5, 2\)\) in the model's own forward has no contextual"),
    "gru": (lambda x: GRU(x)[0][:, -1], r"gru\(\(4, 5, 2\)\)"),
    "maximum": (lambda x: x.amax(1), r"amax"),
    "division by an active value": (lambda x: torch.div(torch.ones_like(x), x.abs() + 1).sum(1), r"div"),
    "quotient": (lambda x: (x / (x.abs() + 1)).sum(1), r"div"),
    "reciprocal": (lambda x: (1.0 / (x.abs() + 1)).sum(1), r"reciprocal"),
    "log of a sum": (lambda x: torch.log(x.abs()).sum(1), r"log\(\(4, 5, 2\)\)"),
    "sorted": (lambda x: x.sort(1).values[:, 0], r"sort"),
    "softmax": (lambda x: x.softmax(1).sum(1), r"softmax"),
    "cell": (lambda x: CELL(x[:, 0])[0], r"lstm_cell"),
}
GRU, CELL = seeded(lambda: nn.GRU(2, 3, batch_first=True)), seeded(lambda: nn.LSTMCell(2, 3))


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_decomposition_is_refused_by_name(name):
    model, message = REFUSED[name]
    with pytest.raises(UnsupportedOperation, match=message + r".*explain with another method"):
        ContextualDecomposition(model).attribute(X, target=0)
    with pytest.raises(UnsupportedOperation, match=r"layer_norm\(\(4, 3\)\) in module 'norm'"):
        ContextualDecomposition(seeded(Norm)).attribute(X, target=0)


def test_what_does_not_lead_to_the_target_is_not_decomposed():
    model = seeded(Norm)
    found = ContextualDecomposition(model).attribute(X, target=Unit("last", 1))
    assert_close(found.relevance, ContextualDecomposition(model.last).attribute(X, target=1).relevance, 1e-12)


def test_steps_in_another_order_are_refused_where_their_biases_matter():
    model = last()
    stacked = last(num_layers=2)
    second = seeded(lambda: nn.LSTM(3, 3, batch_first=True), 9)
    others = (
        lambda x: model(x.flip(1)), lambda x: model(x[:, 1:]), lambda x: model(x[:, ::2]),
        lambda x: second(model.lstm(x)[0].flip(1))[0][:, -1], lambda x: second(model.lstm(x)[0][:, 1:])[0][:, -1],
        lambda x: model(nn.functional.conv1d(x.transpose(1, 2), KERNEL[:2, :2], padding=1).transpose(1, 2)),
        lambda x: stacked(x[:, :-1]),  # whether the second layer's steps are the first's is not known any more
    )  # fmt: skip
    for other in others:
        with pytest.raises(UnsupportedOperation, match=r"does not read the 5 steps .* in their order, .* or give biases='rest'"):
            ContextualDecomposition(other).attribute(X, target=1)
        assert bool(ContextualDecomposition(other, biases="rest").attribute(X, target=1).relevance.abs().sum() > 0)
    cut = ContextualDecomposition(lambda x: model(x[:, :-1])).attribute(X, target=1)
    assert_close(cut.relevance[:, :-1], ContextualDecomposition(model).attribute(X[:, :-1], target=1).relevance, 1e-12)


def test_bad_options_and_inputs_are_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"biases must be one of phrase, rest, got 'both'"):
        ContextualDecomposition(last(), biases="both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"dim must be a whole number, got 'time'"):
        ContextualDecomposition(last(), dim="time")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"batch must be a whole number from 1, got -1"):
        ContextualDecomposition(last(), batch=-1)
    with pytest.raises(InputError, match=r"time steps in dimension 0 behind the batch"):
        ContextualDecomposition(last(), dim=0).attribute(X, target=0)


def test_bytes_that_are_numbers():
    model, pixels = last(), torch.randint(0, 256, (3, STEPS, 2), dtype=torch.uint8)
    expected = ContextualDecomposition(model).attribute(pixels.double() / 255, target=1).relevance.sum(-1)
    for spelling in (lambda x: x.double() / 255, lambda x: x.to(torch.float64).div_(255)):
        found = ContextualDecomposition(lambda x, s=spelling: model(s(x))).attribute(pixels, target=1)
        assert_close(found.relevance.sum(-1), expected, 1e-12)
    with pytest.raises(UnsupportedOperation, match=r"add\(\(3, 5, 2\)\)"):
        ContextualDecomposition(lambda x: (x + 0.5).sum(1)).attribute(pixels, target=0)
