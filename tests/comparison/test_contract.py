"""What every comparison method satisfies, whatever it computes.  A new one enters by its name in ``seqxai.comparison``."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

import seqxai
from seqxai import comparison
from seqxai.errors import CaptureError, InputError, TargetError
from seqxai.targets import Contrast, Several, Unit
from seqxai.trace.recording import TraceWarning
from tests.comparison.models import STEPS, X, last
from tests.contracts import assert_close

Build = Callable[[Any], seqxai.Attributor]


def _of(name: str, **options: Any) -> Build:
    return lambda model: getattr(comparison, name)(model, **options)


METHODS: dict[str, Build] = {name: _of(name) for name in comparison.__all__}
# Further variants; those of probabilities explain single outputs, and see the softmax.
VARIANTS = METHODS | {"Occlusion of probabilities": _of("Occlusion", of="probability")}
every = pytest.mark.parametrize("build", VARIANTS.values(), ids=VARIANTS.keys())
of_scores = pytest.mark.parametrize("build", METHODS.values(), ids=METHODS.keys())


@every
def test_results_have_the_shape_of_the_input_and_say_what_they_are(build):
    model = last()
    found = build(model).attribute(X, target=1)
    assert isinstance(build(model), seqxai.Attributor)
    assert found.relevance.shape == X.shape
    assert found.relevance.dtype == X.dtype
    assert bool(found.relevance.abs().sum() > 0)
    assert not found.relevance.requires_grad
    assert torch.equal(found.output, model(X).detach())
    assert torch.equal(found.inputs, X)
    assert found.target == "output 1"
    assert found.method
    assert all(isinstance(v, str) for v in found.settings.values())


@every
def test_a_batch_is_its_samples(build):
    explain = build(last())
    together = explain.attribute(X, target=1)
    for index in range(len(X)):
        alone = explain.attribute(X[index : index + 1], target=1)
        assert_close(alone.relevance, together.relevance[index : index + 1], 1e-12)
        assert_close(alone.explained[None], together.explained[None, index : index + 1], 1e-12)


@every
def test_the_model_is_as_it_was(build):
    model = last().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    output, state, x = model(X).detach(), torch.get_rng_state(), X.clone()
    first = build(model).attribute(x, target=1)
    assert torch.equal(build(model).attribute(x, target=1).relevance, first.relevance)
    assert torch.equal(x, X)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert hooks == [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    assert not module_hooks._global_forward_hooks
    assert model.training
    assert torch.equal(model(X), output)


@every
def test_targets_of_every_kind(build):
    explain = build(last())
    single = torch.stack([explain.attribute(X, target=c).relevance for c in range(3)])
    scores = explain.attribute(X, target=0).output
    largest = scores.argmax(1)
    assert len(set(largest.tolist())) > 1
    chosen = torch.stack([single[c, i] for i, c in enumerate(largest)])
    assert_close(explain.attribute(X).relevance, chosen, 1e-12)
    assert_close(explain.attribute(X, target=largest).relevance, chosen, 1e-12)
    assert_close(explain.attribute(X, target=(2,)).relevance, single[2], 1e-12)
    several = explain.attribute(X, target=Several([0, 2]))
    assert_close(several.relevance, single[[0, 2]], 1e-12)
    assert several.explained.shape == (2, len(X))
    assert str(several.target) == "output 0; output 2"
    assert_close(several[1].relevance, single[[0, 2], 1:2], 1e-12)


@every
def test_under_inference_mode(build):
    expected = build(last()).attribute(X, target=1).relevance
    with torch.inference_mode():
        found = build(last()).attribute(X.clone(), target=1)
    assert_close(found.relevance, expected, 1e-13)


@every
def test_results_are_saved_and_loaded(build, tmp_path):
    found = build(last()).attribute(X, target=1)
    found.save(tmp_path / "a.safetensors")
    loaded = seqxai.Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(loaded.relevance, found.relevance)
    assert (loaded.method, loaded.settings) == (found.method, found.settings)
    with pytest.raises(InputError, match=r"the ledger belongs to layer-wise relevance propagation"):
        _ = loaded.ledger


@every
@pytest.mark.parametrize(
    ("x", "target", "error", "message"),
    [
        (X.to(torch.complex128), 0, InputError, "must be real"),
        (X.clone().fill_(torch.nan), 0, InputError, r"must be finite, got 40 NaN or infinite numbers; clean the input"),
        (X, 3, TargetError, r"The target 3 is out of range: expected an index from 0 to 2"),
        (X, "first", TargetError, "Expected a target as an index"),
        (X, (0, 1), TargetError, "expected 1 index"),
        (X, torch.tensor([0, 1]), TargetError, "Expected one target for each of 4 samples, got 2"),
        (X, [], TargetError, "Expected a target as an index"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(build, x, target, error, message):
    with pytest.raises(error, match=message):
        build(last()).attribute(x, target=target)


@every
def test_bad_models_are_refused_in_a_sentence(build):
    with pytest.raises(InputError, match=r"\w+ explains an nn\.Module or a callable, got str"):
        build("model")
    broken = last()
    with torch.no_grad():
        broken.head.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"Expected finite weights, but argument 1 of linear.*load or train the model again"):
        build(broken).attribute(X, target=1)
    with pytest.raises(CaptureError, match="nothing links them"):
        build(lambda x: torch.ones(4, 3)).attribute(X, target=1)


@every
def test_nothing_to_explain_is_an_empty_relevance(build):
    assert build(last()).attribute(X[:0], target=1).relevance.shape == (0, STEPS, 2)
    assert build(lambda x: x.sum(1)).attribute(X[:, :0], target=1).relevance.shape == (4, 0, 2)
    assert build(last()).attribute(X[:, :1], target=1).relevance.shape == (4, 1, 2)


@every
def test_integers_where_numbers_are_needed(build):
    with pytest.raises(InputError):
        build(last()).attribute(torch.ones(2, STEPS, 2, dtype=torch.long), target=0)


@of_scores
def test_a_final_softmax_is_peeled(build):
    model = last()

    def ends_in_softmax(x: Tensor) -> Tensor:
        return nn.functional.log_softmax(model(x), 1)

    with pytest.warns(TraceWarning, match="the scores, is explained instead of the probabilities"):
        found = build(ends_in_softmax).attribute(X, target=1)
    assert_close(found.relevance, build(model).attribute(X, target=1).relevance, 1e-12)


@of_scores
def test_contrasts_and_units(build):
    model = last()
    explain = build(model)
    contrast = explain.attribute(X, target=Contrast(2, 0))
    assert_close(contrast.explained[None], (model(X)[:, 2] - model(X)[:, 0]).detach()[None], 1e-12)
    unit = explain.attribute(X, target=Unit("head", 1))
    assert_close(unit.relevance, explain.attribute(X, target=1).relevance, 1e-12)
    step = explain.attribute(X, target=Unit("lstm", (2, 0), call=0))
    assert torch.equal(step.relevance[:, 3:], torch.zeros_like(X[:, 3:]))
    assert bool((step.relevance[:, 2].abs().sum(-1) > 0).all())
