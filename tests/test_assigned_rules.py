"""Which rule a composite gives to which layer, as captions and users read it."""

import pytest
import torch
from torch import nn

import seqxai
from seqxai.errors import CompositeError


def test_the_rules_of_a_convolutional_network_in_order():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(2, 3))
    images = torch.randint(0, 256, (1, 1, 8, 8)).float()
    found = seqxai.LRP(model, composite="epsilon-gamma-box").rules(images / 255)
    assert found == [
        ("0", "ZBox(low=0.0, high=1.0, epsilon=1e-09)"),
        ("2", "WinnerTakesAll()"),
        ("3", "Gamma(gamma=0.25, epsilon=1e-09, bias='include')"),
        ("5", "Epsilon(epsilon=1e-06, bias='include')"),
    ]
    wide = seqxai.composites.EpsilonGammaBox(low=-1.0, high=2.0, gamma=0.5)
    found = dict(seqxai.LRP(model, composite=wide).rules(images / 255))
    assert found["0"] == "ZBox(low=-1.0, high=2.0, epsilon=1e-09)"
    assert found["3"].startswith("Gamma(gamma=0.5")


def test_the_rules_of_a_recurrent_layer_and_of_calls_in_the_models_own_code():
    lstm, head = nn.LSTM(2, 3, batch_first=True), torch.randn(2, 3)
    x = torch.randn(1, 4, 2)
    model = nn.Module()
    model.lstm = lstm
    model.forward = lambda x: nn.functional.linear(model.lstm(x)[0][:, -1], head)
    found = seqxai.LRP(model, composite="epsilon", product="half").rules(x)
    epsilon = "Epsilon(epsilon=1e-06, bias='include')"
    assert found[:3] == [("lstm: layers", epsilon), ("lstm: sums", epsilon), ("lstm: gates", "Half()")]
    assert found[3][0].endswith(" linear")
    assert found[3][1] == epsilon


def test_a_path_that_selects_nothing_is_refused():
    composite = seqxai.composites.Composite([(seqxai.composites.path("nowhere"), seqxai.rules.Epsilon())])
    with pytest.raises(CompositeError, match="selects the module path 'nowhere', where nothing ran"):
        seqxai.LRP(nn.Sequential(nn.Linear(2, 2)), composite=composite).rules(torch.randn(1, 2))
