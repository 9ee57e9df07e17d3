"""Gradient, gradient × input and occlusion beside another library's."""

import pytest
import torch

from seqxai.comparison import Gradient, GradientTimesInput, IntegratedGradients, Occlusion
from tests.comparison.models import X, last
from tests.contracts import assert_close

captum = pytest.importorskip("captum.attr")


def test_gradients_are_those_of_captum():
    model, x = last(bidirectional=True), X.clone().requires_grad_()
    for form, absolute in (("absolute", True), ("signed", False)):
        found = Gradient(model, form=form).attribute(X, target=2).relevance
        assert_close(found, captum.Saliency(model).attribute(x, target=2, abs=absolute), 1e-12)
    found = GradientTimesInput(model).attribute(X, target=2).relevance
    assert_close(found, captum.InputXGradient(model).attribute(x, target=2), 1e-12)


def test_occlusion_is_that_of_captum():
    model = last(bidirectional=True)
    steps = torch.arange(X.shape[1])[:, None].expand(X.shape[1:])
    expected = captum.FeatureAblation(model).attribute(X, baselines=0.5, target=2, feature_mask=steps)
    found = Occlusion(model, reference=0.5).attribute(X, target=2).relevance
    assert_close(2 * found, expected, 1e-12)


def test_integrated_gradients_are_those_of_captum():
    model = last(bidirectional=True)
    # captum keeps the places of the derivatives in float32.
    expected = captum.IntegratedGradients(model).attribute(X, baselines=0.5, target=2, n_steps=20, method="riemann_middle")
    assert_close(IntegratedGradients(model, points=20, reference=0.5).attribute(X, target=2).relevance, expected, 1e-7)
