"""Models with operations that have no rule are explained by the methods that only run them again."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import seqxai
from seqxai.comparison import ContextualDecomposition, Gradient, GradientTimesInput, Occlusion
from seqxai.errors import CaptureError, UnsupportedOperation
from tests.comparison.models import IDS, X
from tests.comparison.test_gradient import derivative
from tests.comparison.test_occlusion import loop
from tests.contracts import assert_close, random

READ = random(14, 3, seed=12)


def _spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfft(x, dim=1).abs().sum(2) @ READ[:3]


def _products(x: Tensor) -> Tensor:
    whole, _ = torch.cummax(x.cumprod(1), 1)
    return torch.cat([whole.prod(2), torch.logcumsumexp(x, 1)[..., 0]], 1)[:, :3] + torch.sign(x[:, :3, 0])


def _distances(x: Tensor) -> Tensor:
    return torch.cdist(x, x + random(5, 2, seed=3)).flatten(1)[:, :3]


def _moments(x: Tensor) -> Tensor:
    spread, mean = torch.std_mean(x, 1)
    return torch.cat([mean, spread[:, :1]], 1)


MODELS = {"moments": _moments, "spectrum": _spectrum, "products": _products, "distances": _distances}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_operations_without_a_rule(model):
    with pytest.raises(UnsupportedOperation):
        seqxai.LRP(model).attribute(X, target=1)
    expected = derivative(lambda x: model(x)[:, 1], X)
    assert_close(Gradient(model, form="signed").attribute(X, target=1).relevance, expected, 1e-12)
    assert_close(GradientTimesInput(model).attribute(X, target=1).relevance, X * expected, 1e-12)
    assert_close(Occlusion(model, batch=9).attribute(X, target=1).relevance.sum(-1), loop(lambda x, _: model(x)[:, 1], X), 1e-12)
    with pytest.raises(UnsupportedOperation, match=r"has no contextual decomposition; expected nn\.LSTM"):
        ContextualDecomposition(model).attribute(X, target=1)


def test_computing_on_token_ids():
    def model(ids: Tensor) -> Tensor:
        return torch.tanh(F.one_hot(ids, 7).double()).flatten(1) @ READ.repeat(3, 1)[:35]

    found = Occlusion(model, reference=3).attribute(IDS, target=1)
    assert_close(found.relevance, loop(lambda x, _: model(x)[:, 1], IDS, 3), 1e-12)
    with pytest.raises(UnsupportedOperation, match=r"one_hot\(\(4, 5\)\) .* computes on integers.* seqxai\.comparison\.Occlusion"):
        Gradient(model).attribute(IDS, target=1)
    with pytest.raises(UnsupportedOperation, match=r"one_hot\(\(4, 5\)\) .* has no contextual decomposition"):
        ContextualDecomposition(model).attribute(IDS, target=1)


@pytest.mark.parametrize("method", [Gradient, GradientTimesInput, Occlusion, ContextualDecomposition])
def test_what_cannot_be_linked_stays_refused(method):
    with pytest.raises(CaptureError, match="nothing links them; the content left torch"):
        method(lambda x: torch.from_numpy(x.numpy() * 2).sum(1)).attribute(X, target=0)
    with pytest.raises(UnsupportedOperation, match=r"cumprod_"):
        method(lambda x: x.clone().cumprod_(1).sum(1)).attribute(X, target=0)
