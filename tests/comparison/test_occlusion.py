"""Occlusion against loops that overwrite one step of one sample at a time."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from seqxai.comparison import Occlusion
from seqxai.errors import InputError, TargetError
from seqxai.targets import Contrast, LogOdds, Several, Unit
from seqxai.trace.recording import TraceWarning
from tests.comparison.models import IDS, LENGTHS, STEPS, X, last, packed, words
from tests.contracts import assert_close, random


def loop(score: Callable[[Tensor, int], Tensor], x: Tensor, reference: float = 0.0) -> Tensor:
    """(B, T) differences; ``score`` takes one sample with its batch dimension, and its number."""
    differences = torch.zeros(x.shape[:2], dtype=torch.float64)
    with torch.no_grad():
        for b in range(len(x)):
            for t in range(x.shape[1]):
                other = x[b : b + 1].clone()
                other[:, t] = reference
                differences[b, t] = (score(x[b : b + 1], b) - score(other, b)).squeeze()
    return differences


@pytest.mark.parametrize("batch", [1, 7, 8, 1024])
def test_differences_of_scores(batch):
    model = last(bidirectional=True)
    found = Occlusion(model, batch=batch).attribute(X, target=2)
    expected = loop(lambda x, _: model(x)[:, 2], X)
    assert_close(found.relevance.sum(-1), expected, 1e-12)
    assert torch.equal(found.relevance[..., 0], found.relevance[..., 1])
    assert_close(found.explained[None], model(X).detach()[None, :, 2], 1e-14)
    assert found.method == "occlusion/score"


def test_another_reference():
    model = last()
    found = Occlusion(model, reference=0.75).attribute(X, target=0)
    assert_close(found.relevance.sum(-1), loop(lambda x, _: model(x)[:, 0], X, 0.75), 1e-12)


def test_the_largest_output_is_that_of_the_whole_input():
    model = last()
    largest = model(X).argmax(1)
    found = Occlusion(model).attribute(X)
    assert_close(found.relevance.sum(-1), loop(lambda x, b: model(x)[:, largest[b]], X), 1e-12)


TARGETS = {
    "contrast": (Contrast(2, 0), lambda s, b: s[:, 2] - s[:, 0]),
    "contrast by sample": (Contrast([2, 1, 0, 2], 1), lambda s, b: s[:, [2, 1, 0, 2][b]] - s[:, 1]),
    "log-odds": (LogOdds(1), lambda s, b: torch.logit(s.softmax(1)[:, 1])),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_measured_as_they_are_explained(name):
    model, (target, score) = last(), TARGETS[name]
    found = Occlusion(model).attribute(X, target=target)
    assert_close(found.relevance.sum(-1), loop(lambda x, b: score(model(x), b), X), 1e-12)


def test_units_and_several_targets():
    model = last()
    found = Occlusion(model, batch=9).attribute(X, target=Several([Unit("lstm", (3, 2), call=0), 1]))
    assert_close(found.relevance[0].sum(-1), loop(lambda x, _: model.lstm(x)[0][:, 3, 2], X), 1e-12)
    assert_close(found.relevance[1].sum(-1), loop(lambda x, _: model(x)[:, 1], X), 1e-12)


def test_lengths_are_repeated_with_the_samples():
    model = packed(bidirectional=True)
    expected = loop(lambda x, b: model(x, LENGTHS[b : b + 1])[:, 1], X)
    for batch in (1, 12, 1024):
        found = Occlusion(model, batch=batch).attribute(X, target=1, args=(LENGTHS,)).relevance
        assert_close(found.sum(-1), expected, 1e-12)
    assert torch.equal(found[1, 2:], torch.zeros(3, 2, dtype=torch.float64))
    nested = Occlusion(lambda x, given: model(x, given["lengths"][0])).attribute(X, 1, kwargs={"given": {"lengths": [LENGTHS]}})
    assert torch.equal(nested.relevance, found)


def test_constants_without_a_batch_stay_as_they_are():
    model, shift, scale = last(), random(2, seed=3), torch.tensor(2.0)
    found = Occlusion(lambda x, a, b: model((x + a) * b)).attribute(X, 1, args=(shift,), kwargs={"b": scale}).relevance
    assert_close(found.sum(-1), loop(lambda x, _: model((x + shift) * 2)[:, 1], X), 1e-12)


def test_sorted_lengths_stay_sorted():
    model = packed()

    def strict(x: Tensor, lengths: Tensor) -> Tensor:
        return model.head(model.lstm(pack_padded_sequence(x, lengths, batch_first=True))[1][0][-1])

    order = LENGTHS.argsort(descending=True)
    found = Occlusion(strict).attribute(X[order], target=1, args=(LENGTHS[order],))
    assert_close(found.relevance, Occlusion(model).attribute(X, target=1, args=(LENGTHS,)).relevance[order], 1e-12)


def test_time_in_another_dimension_and_several_inputs():
    def model(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([(a[..., 0] * a[..., 1] * a[..., 2] * a[..., 3]).sum(1) * b.sum((1, 2)), b.square().sum((1, 2))], 1)

    a, b = random(3, 2, 4, seed=1), random(3, 5, 6, seed=2)
    for dim in (2, -1):
        found = Occlusion(model, dim=dim).attribute((a, b), target=0)
        assert_close(found.relevance[0].sum(1), (a.prod(2).sum(1) * b.sum((1, 2)))[:, None].expand(3, 4), 1e-12)
        assert_close(found.relevance[1].sum(1), a.prod(2).sum(1)[:, None] * b.sum(1), 1e-12)


def test_token_ids_are_replaced_by_the_reference():
    model = words()
    found = Occlusion(model, reference=0).attribute(IDS, target=1).relevance
    assert found.dtype == torch.float64
    assert_close(found, loop(lambda x, _: model(x)[:, 1], IDS, 0), 1e-12)


def test_scores_before_a_softmax_and_probabilities_after_it():
    model = last()
    expected = loop(lambda x, _: model(x).softmax(1)[:, 1], X)
    endings = (lambda s: s, lambda s: s.softmax(1), lambda s: F.log_softmax(s, 1))
    for ending in endings:
        found = Occlusion(lambda x, e=ending: e(model(x)), of="probability", batch=8).attribute(X, target=1)
        assert_close(found.relevance.sum(-1), expected, 1e-12)
        assert_close(found.explained[None], model(X).softmax(1).detach()[None, :, 1], 1e-12)
        assert found.method == "occlusion/probability"
    for ending in endings[1:]:
        with pytest.warns(TraceWarning, match="the scores, is explained") as warned:
            found = Occlusion(lambda x, e=ending: e(model(x)), batch=8).attribute(X, target=1)
        assert len(warned) == 1
        assert_close(found.relevance, Occlusion(model).attribute(X, target=1).relevance, 1e-12)


def test_probabilities_of_every_sample_and_step():
    model = last()
    largest = model(X).argmax(1)
    found = Occlusion(model, "probability").attribute(X)
    assert_close(found.relevance.sum(-1), loop(lambda x, b: model(x).softmax(1)[:, largest[b]], X), 1e-12)

    def at_every_step(x: Tensor) -> Tensor:
        return model.head(model.lstm(x)[0])

    found = Occlusion(at_every_step, "probability").attribute(X, target=(2, 1))
    assert_close(found.relevance.sum(-1), loop(lambda x, _: at_every_step(x)[:, 2].softmax(-1)[:, 1], X), 1e-12)


def test_probabilities_belong_to_single_outputs():
    with pytest.raises(TargetError, match=r"A probability belongs to one output: expected an index as target, got output 2 against 0"):
        Occlusion(last(), "probability").attribute(X, target=Contrast(2, 0))
    with pytest.raises(InputError, match=r"output has shape \(4, 1\), and a softmax over one score is always 1; give of='score'"):
        Occlusion(lambda x: x.sum(1)[:, :1], "probability").attribute(X, target=0)


def test_a_model_that_runs_on_its_own_batch_only_runs_copy_by_copy():
    model = last()
    state = random(1, 4, 3, seed=6), random(1, 4, 3, seed=7)

    def given_state(x: Tensor, initial: tuple[Tensor, Tensor]) -> Tensor:
        return model.head(model.lstm(x, initial)[0][:, -1])

    found = Occlusion(given_state, batch=1).attribute(X, target=1, args=(state,))
    expected = loop(lambda x, b: given_state(x, tuple(s[:, b : b + 1] for s in state))[:, 1], X)
    assert_close(found.relevance.sum(-1), expected, 1e-12)
    with pytest.raises(InputError, match=r"not on 5 copies of it with a step set to 0: .* or batch=1, which runs one copy"):
        Occlusion(given_state).attribute(X, target=1, args=(state,))
    with pytest.raises(InputError, match=r"its result has 4 rows; give a reference it accepts, or batch=1"):
        Occlusion(lambda x: x.reshape(4, -1)[:, :6]).attribute(X, target=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "logit"}, r"of must be one of score, probability, got 'logit'"),
        ({"dim": 1.0}, r"dim must be a whole number, got 1\.0"),
        ({"batch": 0}, r"batch must be a whole number from 1, got 0"),
        ({"reference": float("nan")}, r"reference must be a finite number, got nan"),
        ({"reference": "pad"}, r"reference must be a finite number, got 'pad'"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        Occlusion(last(), **options)


def test_bad_inputs_are_refused_in_a_sentence():
    for dim in (0, 3, -3):
        with pytest.raises(InputError, match=rf"steps in dimension {dim} behind the batch, got an input of shape \(4, 5, 2\); give dim"):
            Occlusion(last(), dim=dim).attribute(X, target=0)
    with pytest.raises(InputError, match=r"Expected the batch in front of the input, got shape \(5, 4, 2\) for 4 explained samples"):
        Occlusion(lambda x: last()(x.transpose(0, 1))).attribute(X.transpose(0, 1), target=0)
    with pytest.raises(InputError, match=r"Expected the batch in front of the input, got shape \(4, 5, 2\) for 1 explained samples"):
        Occlusion(lambda x: last()(x)[:, 0].sum()).attribute(X, target=0)
    with pytest.raises(InputError, match=r"Expected the batch in front of the input, got shape \(5, 2\) for 1 explained samples"):
        Occlusion(lambda x: last()(x[None])[0]).attribute(X[0], target=0)
    for reference in (None, 0.5):
        with pytest.raises(InputError, match=rf"token ids\) needs a whole number as reference, got {reference}; give the id"):
            Occlusion(words(), reference=reference).attribute(IDS, target=0)
    with pytest.raises(InputError, match=r"with a step set to 7: index out of range in self; give a reference it accepts\."):
        Occlusion(words(), reference=7, batch=1).attribute(IDS, target=0)
    with pytest.raises(InputError, match=r"NaN first appears in sqrt"):
        Occlusion(lambda x: torch.sqrt(x).sum(1), reference=-1.0).attribute(X.abs(), target=0)
    assert STEPS == X.shape[1]


def test_thousands_of_sequences_take_a_few_runs():
    runs = []

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(2, 1, batch_first=True), nn.Linear(1, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            runs.append(len(x))
            return self.head(self.lstm(x)[0][:, -1])

    Occlusion(Counted(), batch=10000).attribute(torch.randn(2500, 14, 2), target=0)
    assert runs == [2500, 10000, 10000, 10000, 5000]
