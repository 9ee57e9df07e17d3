"""Integrated gradients: the formula written slowly, the sum, the reference, token ids."""

import pytest
import torch
from torch import Tensor, nn

from seqxai.comparison import IntegratedGradients
from seqxai.errors import InputError
from tests.comparison.models import IDS, X, last, words
from tests.contracts import assert_close


def slowly(model: nn.Module, x: Tensor, start: Tensor, target: int, points: int) -> Tensor:
    """One gradient at a time, by autograd on the model itself."""
    total = torch.zeros_like(x)
    for k in range(points):
        at = (start + (k + 0.5) / points * (x - start)).requires_grad_()
        (gradient,) = torch.autograd.grad(model(at)[:, target].sum(), at)
        total += (x - start) * gradient / points
    return total


@pytest.mark.parametrize("reference", [0.0, 0.7, torch.tensor([0.5, -1.0], dtype=torch.float64)], ids=["zero", "number", "tensor"])
def test_it_is_the_formula(reference):
    model = last()
    found = IntegratedGradients(model, points=7, reference=reference).attribute(X, target=1)
    start = torch.as_tensor(reference, dtype=X.dtype).expand(X.shape)
    assert_close(found.relevance, slowly(model, X, start, 1, 7), 1e-12)
    assert_close(found.explained[None], model(X)[:, 1].detach()[None], 1e-14)


def test_it_sums_to_the_difference_to_the_reference():
    model = last()
    difference = (model(X) - model(torch.zeros_like(X)))[:, 2].detach()
    gaps = [
        float((IntegratedGradients(model, points=points).attribute(X, target=2).sum() - difference).abs().max()) for points in (10, 100)
    ]
    assert gaps[1] < 2e-5
    assert gaps[0] > 50 * gaps[1]  # the error falls with the square of the number of points


def test_of_token_ids_it_is_that_of_their_rows():
    model = words()
    found = IntegratedGradients(model, points=5).attribute(IDS, target=0)
    rows = model.embedding(IDS).detach()
    assert_close(found.relevance, slowly(model.last, rows, torch.zeros_like(rows), 0, 5).sum(-1), 1e-12)


def test_a_buffer_written_step_by_step_is_followed():
    def model(x: Tensor) -> Tensor:
        buffer = torch.zeros(len(x), 3, dtype=x.dtype)
        for step in range(x.shape[1]):
            buffer[:, step % 3] += (x[:, step] ** 2).sum(-1)
        return buffer

    found = IntegratedGradients(model, points=50).attribute(X, target=1)
    expected = torch.zeros_like(X)
    expected[:, 1::3] = X[:, 1::3] ** 2
    assert_close(found.relevance, expected, 1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 0}, r"points must be a whole number from 1, got 0"),
        ({"points": 2.5}, r"points must be a whole number from 1, got 2.5"),
        ({"reference": float("nan")}, r"reference must be a finite number or a tensor of finite numbers, got nan"),
        ({"reference": "mean"}, r"reference must be a finite number or a tensor of finite numbers, got 'mean'"),
        ({"reference": torch.zeros(3)}, r"Expected a reference that fits an input of shape \(4, 5, 2\), got \(3,\); give a number"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(options, message):
    with pytest.raises(InputError, match=message):
        IntegratedGradients(last(), **options).attribute(X, target=0)
