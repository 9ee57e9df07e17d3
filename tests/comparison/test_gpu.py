"""Comparison methods on a GPU: as on the CPU, with recurrent kernels that have no derivative there in evaluation mode."""

import copy

import pytest
import torch

from tests.comparison.models import LENGTHS, X, last, packed
from tests.comparison.test_contract import VARIANTS
from tests.contracts import assert_close

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("build", VARIANTS.values(), ids=VARIANTS.keys())
def test_the_same_on_a_gpu(build):
    for model, args in ((last(num_layers=2, bidirectional=True), ()), (packed(bidirectional=True), (LENGTHS,))):
        expected = build(model).attribute(X, 1, args=args).relevance
        found = build(copy.deepcopy(model).cuda()).attribute(X.cuda(), 1, args=args)
        assert found.relevance.is_cuda
        assert_close(found.relevance.cpu(), expected, 1e-9)
        assert torch.backends.cudnn.enabled
