"""Gradient and gradient × input against plain autograd on models without anything to discuss."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import seqxai
from seqxai.comparison import Gradient, GradientTimesInput
from seqxai.errors import InputError, UnsupportedOperation
from seqxai.targets import Contrast, LogOdds, Unit
from tests.comparison.models import IDS, LENGTHS, X, last, packed, words
from tests.contracts import Wrapped, assert_close, random, seeded
from tests.nasty_models import NASTY

FORMS = {"squared": lambda g: g**2, "signed": lambda g: g, "absolute": lambda g: g.abs()}


def derivative(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(score(leaf).sum(), leaf)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_gradient_is_the_derivative_in_its_form(form):
    model = last(num_layers=2, bidirectional=True)
    found = Gradient(model, form=form).attribute(X, target=1)
    assert_close(found.relevance, FORMS[form](derivative(lambda x: model(x)[:, 1], X)), 1e-13)
    assert found.settings == {"form": form}


def test_the_square_is_the_default():
    assert bool((Gradient(last()).attribute(X, target=1).relevance >= 0).all())
    assert Gradient(last()).form == "squared"


@pytest.mark.parametrize("name", NASTY)
def test_in_place_models_have_the_gradient_of_their_clean_rewriting(name):
    x = random(3, 4, seed=5)
    expected = derivative(lambda x: NASTY[name].clean(x)[:, 1], x)
    assert_close(Gradient(NASTY[name].forward, form="signed").attribute(x, target=1).relevance, expected, 1e-12)
    assert_close(GradientTimesInput(NASTY[name].forward).attribute(x, target=1).relevance, x * expected, 1e-12)


TARGETS = {
    "largest": (None, lambda s: s.max(1).values),
    "per sample": (torch.tensor([0, 2, 1, 2]), lambda s: s[range(4), [0, 2, 1, 2]]),
    "contrast": (Contrast(2, 0), lambda s: s[:, 2] - s[:, 0]),
    "log-odds": (LogOdds(1), lambda s: s.log_softmax(1)[:, 1] - torch.log1p(-s.softmax(1)[:, 1])),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_differentiated_as_they_are_explained(name):
    model, (target, score) = last(), TARGETS[name]
    found = GradientTimesInput(model).attribute(X, target=target)
    assert_close(found.relevance, X * derivative(lambda x: score(model(x)), X), 1e-12)
    assert_close(found.explained.reshape(-1, 1), score(model(X)).reshape(-1, 1), 1e-12)


def test_a_unit_on_the_way():
    model = last()
    found = GradientTimesInput(model).attribute(X, target=Unit("lstm", (3, 2), call=0))
    assert_close(found.relevance, X * derivative(lambda x: model.lstm(x)[0][:, 3, 2], X), 1e-13)


def test_several_inputs_and_constants_of_the_call():
    def model(a: Tensor, b: Tensor, scale: float, *, shift: Tensor) -> Tensor:
        return torch.cat([(a * b).sum(1, keepdim=True) * scale, torch.tanh(b + shift)], 1)

    a, b, shift = random(3, 2, seed=1), random(3, 2, seed=2), random(2, seed=3)
    found = Gradient(model, form="signed").attribute((a, b), target=0, args=(2.0,), kwargs={"shift": shift})
    assert isinstance(found.relevance, tuple)
    assert_close(found.relevance[0], 2 * b, 1e-14)
    assert_close(found.relevance[1], 2 * a, 1e-14)
    unused = Gradient(model).attribute((a, b), target=2, args=(2.0,), kwargs={"shift": shift})
    assert torch.equal(unused.relevance[0], torch.zeros(3, 2, dtype=torch.float64))


def test_packed_sequences():
    model = packed(bidirectional=True)
    found = GradientTimesInput(model).attribute(X, target=0, args=(LENGTHS,))
    assert_close(found.relevance, X * derivative(lambda x: model(x, LENGTHS)[:, 0], X), 1e-13)


def test_token_ids_get_what_their_rows_get():
    model = words()
    rows = model.embedding(IDS).detach()
    gradient = derivative(lambda e: model.last(e)[:, 2], rows)
    assert_close(Gradient(model).attribute(IDS, target=2).relevance, (gradient**2).sum(-1), 1e-13)
    found = GradientTimesInput(model).attribute(IDS, target=2).relevance
    assert found.dtype == torch.float64
    assert_close(found, (rows * gradient).sum(-1), 1e-13)


TABLE, POSITIONS = random(9, 2, seed=8), random(5, 2, seed=9)


def _moved(ids: Tensor) -> Tensor:
    """The ids shifted, cut and turned around, looked up twice, once by hand."""
    late = torch.cat([ids[:, 2:], torch.zeros_like(ids[:, :1])], 1).flip(1)
    return torch.tanh(nn.functional.embedding(ids + 1, TABLE)).sum(1) * TABLE[0] + TABLE[late.long()].square().sum(1)


def test_token_ids_that_move_before_they_are_looked_up():
    def score(first: Tensor, second: Tensor) -> Tensor:
        return (torch.tanh(first).sum(1) * TABLE[0] + second.square().sum(1))[:, 1]

    late = torch.cat([IDS[:, 2:], torch.zeros_like(IDS[:, :1])], 1).flip(1)
    rows = TABLE[IDS + 1], TABLE[late]
    first = derivative(lambda e: score(e, rows[1]), rows[0])
    second = derivative(lambda e: score(rows[0], e), rows[1])
    for attributor, part in ((Gradient, lambda e, g: g**2), (GradientTimesInput, lambda e, g: e * g)):
        expected = part(rows[0], first).sum(-1)
        expected[:, 2:] += part(rows[1], second).sum(-1).flip(1)[:, :3]
        assert_close(attributor(Wrapped(_moved)).attribute(IDS, target=1).relevance, expected, 1e-13)


def test_bytes_that_are_numbers():
    model = seeded(lambda: nn.Linear(4, 3), 2).float()
    pixels = torch.randint(0, 256, (3, 4), dtype=torch.uint8)
    expected = derivative(lambda x: torch.tanh(model(x / 255))[:, 0], pixels.float())
    for spelling in (lambda x: x.float() / 255, lambda x: x / 255, lambda x: x.to(torch.float32).mul_(1 / 255)):
        found = Gradient(lambda x, s=spelling: torch.tanh(model(s(x))), form="signed").attribute(pixels, target=0)
        assert_close(found.relevance, expected, 1e-5)


def test_rows_of_several_ids_in_one_are_refused():
    model = seeded(lambda: nn.EmbeddingBag(7, 3, mode="sum"), 2)
    with pytest.raises(UnsupportedOperation, match=r"embedding_bag.*joins the rows of several token ids.*add them up afterwards"):
        Gradient(model).attribute(IDS, target=0)


def test_parameters_take_no_part():
    model = last()
    assert all(p.requires_grad for p in model.parameters())
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        Gradient(nn.Sequential(model.head, nn.Tanh(), model.head)).attribute(random(4, 3, seed=1), target=0)
    # Two weights for the products and the tanh: nothing to differentiate a weight with.
    assert len(saved) <= 3
    assert all(p.grad is None for p in model.parameters())


def test_an_unknown_form_is_refused():
    with pytest.raises(InputError, match=r"form must be one of squared, signed, absolute, got 'cubed'"):
        Gradient(last(), form="cubed")  # type: ignore[arg-type]


def test_ledgers_belong_to_lrp():
    found = seqxai.comparison.GradientTimesInput(last()).attribute(X, target=0)
    for result in (found, found.release(), found[1:]):
        with pytest.raises(InputError, match=r"the ledger belongs to layer-wise relevance propagation, and gradient-times-input has none"):
            _ = result.ledger
        with pytest.raises(InputError, match=r"the relevance at 'lstm' belongs to .* explain with seqxai\.LRP"):
            result.at("lstm")
