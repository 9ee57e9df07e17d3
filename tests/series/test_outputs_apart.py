"""Outputs of ``series explain`` never replace what it reads."""

from pathlib import Path

import pytest

from seqxai.cli.series_explain import _check_outputs
from seqxai.errors import InputError


def test_an_output_that_is_read_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "river.csv"
    with pytest.raises(InputError, match="another name"):
        _check_outputs(None, tmp_path / "." / "river.csv", [table])
    _check_outputs(None, tmp_path / "why.csv", [table])
