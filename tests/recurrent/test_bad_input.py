"""What a user may do wrong with sequences: one clear sentence each, from our own errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import seqxai
from seqxai.errors import InputError, SeqxaiError, UnsupportedOperation
from tests.contracts import check_explanation, random
from tests.recurrent.models import FEATURES, UNITS, kernel

LSTM = kernel(lambda: nn.LSTM(FEATURES, UNITS, batch_first=True))


class Packed(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.layer = kernel(lambda: nn.LSTM(FEATURES, UNITS, batch_first=True))
        self.options = options

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.layer(packed)[0], batch_first=True, **self.options)
        return out.sum(1)


X = random(2, 5, FEATURES)
CASES: dict[str, tuple[Callable[[], Any], type[SeqxaiError], str]] = {
    "a length of zero": (lambda: lrp(Packed(), X, torch.tensor([5, 0])), InputError, r"lengths from 1 to 5.*got 0; drop empty"),
    "a length beyond the sequence": (lambda: lrp(Packed(), X, torch.tensor([7, 2])), InputError, r"lengths from 1 to 5.*got 7; .*pad"),
    "too few lengths": (
        lambda: lrp(lambda x: pack_padded_sequence(x, torch.tensor([5]), batch_first=True).data, X), InputError,
        r"one length for each of 2 sequences, got 1; is batch_first=True right",
    ),
    "an empty batch to pack": (
        lambda: lrp(Packed(), X[:0], torch.zeros(0, dtype=torch.long)), InputError, r"at least one sequence, got an empty batch",
    ),
    "no steps": (lambda: lrp(LSTM, X[:, :0]), InputError, r"LSTM\(3, 4.*refuses.*\(2, 0, 3\) float64.*larger than 0"),
    "token ids": (
        lambda: lrp(LSTM, torch.ones(2, 5, 3, dtype=torch.long)), InputError, r"refuses.*\(2, 5, 3\) int64.*nn.Embedding first",
    ),
    "token ids without features": (
        lambda: lrp(LSTM, torch.ones(2, 5, dtype=torch.long)), InputError, r"refuses.*\(2, 5\) int64.*nn.Embedding first",
    ),
    "another number of features": (lambda: lrp(LSTM, random(2, 5, 7)), InputError, r"\(2, 5, 7\) float64.*Expected 3, got 7.*input_size"),
    "another precision": (lambda: lrp(LSTM, X.float()), InputError, r"\(2, 5, 3\) float32.*does not match weight dtype"),
    "a hidden state of another batch": (
        lambda: lrp(lambda x: LSTM(x, (torch.zeros(1, 3, UNITS).double(),) * 2)[0][:, -1], X), InputError,
        r"refuses.*\(1, 3, 4\) float64.*Expected hidden\[0\] size \(1, 2, 4\), got \[1, 3, 4\].*initial states",
    ),
    "a hidden state of another size": (
        lambda: lrp(lambda x: LSTM(x, (torch.zeros(1, 2, 9).double(),) * 2)[0][:, -1], X), InputError, r"Expected hidden\[0\] size",
    ),
    "a cell's hidden state": (
        lambda: lrp(lambda x: nn.GRUCell(FEATURES, UNITS).double()(x[:, 0], torch.zeros(3, UNITS).double()), X), InputError,
        r"GRUCell\(3, 4\).*refuses.*batch size 2 doesn't match hidden0 batch size 3",
    ),
    "a cell fed ids": (
        lambda: lrp(nn.LSTMCell(FEATURES, UNITS), torch.ones(2, 3, dtype=torch.long)), InputError, r"nn.Embedding first",
    ),
    "weights made from the input": (
        lambda: lrp(lambda x: torch.lstm(x, (torch.zeros(1, 2, UNITS).double(),) * 2, [w * x.sum() for w in LSTM._flat_weights],
                                         True, 1, 0.0, False, False, True)[0], X),
        UnsupportedOperation, "weights that depend on the explained input",
    ),
}  # fmt: skip


def lrp(model: Any, x: Tensor, *args: Any) -> seqxai.Attribution:
    found = model if not isinstance(model, nn.LSTM) else nn.Sequential(model, Output())
    return seqxai.LRP(found).attribute(x, target=0, args=args)


class Output(nn.Module):
    """The last output of a recurrent layer."""

    def forward(self, found: Any) -> Tensor:
        out: Tensor = found[0][:, -1]
        return out


@pytest.mark.parametrize("name", CASES)
def test_a_bad_input_gets_a_sentence(name: str) -> None:
    run, error, message = CASES[name]
    with pytest.raises(error, match=message) as raised:
        run()
    assert "\n" not in str(raised.value)


def test_another_module_raises_its_own_errors() -> None:
    model = nn.Sequential(LSTM, Output(), nn.Linear(9, 2).double())
    with pytest.raises(RuntimeError, match="cannot be multiplied") as raised:
        seqxai.LRP(model).attribute(X, target=0)
    assert not isinstance(raised.value, SeqxaiError)


def test_an_empty_batch_has_an_empty_explanation() -> None:
    found = lrp(LSTM, X[:0])
    assert found.relevance.shape == (0, 5, FEATURES)
    assert found.explained.shape == (0,)


def test_one_packed_sequence() -> None:
    model = Packed()
    check = check_explanation(lambda x: model(x, torch.tensor([4])), X[:1], "epsilon", target=1)
    assert not check[:, 4:].any()
    assert check[:, :4].all()


def test_padding_that_is_not_zero_is_a_constant() -> None:
    model = Packed(padding_value=2.0, total_length=6)
    found = seqxai.LRP(model, "lrp-0", ledger=True).attribute(X, target=1, args=(torch.tensor([2, 5]),))
    assert found.ledger.closed()
    assert found.ledger.total()["constant"].tolist() == pytest.approx([8.0, 2.0])
