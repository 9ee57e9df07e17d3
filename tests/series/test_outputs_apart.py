"""Outputs of ``series explain`` never replace what it reads."""

from pathlib import Path

import pytest

from seqxai.cli.series_explain import _check_outputs
from seqxai.errors import InputError


def test_an_output_that_is_read_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "river.csv"
    for name in ("CSV file 1", "--normalise", "--weights"):
        with pytest.raises(InputError, match=rf"--csv-out .* would overwrite what {name} names"):
            _check_outputs(None, tmp_path / "." / "river.csv", {name: table})
        _check_outputs(None, tmp_path / "why.csv", {name: table})
    with pytest.raises(InputError, match=r"--csv-out .* would overwrite what --out names"):
        _check_outputs(tmp_path / "a.csv", tmp_path / "a.csv", {"--normalise": "none"})
