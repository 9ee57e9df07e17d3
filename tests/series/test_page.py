"""The page on numeric series: its command and its Python run as printed, on the example in the repository."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from seqxai.cli import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "series.md").read_text(encoding="utf-8")


def test_the_command_of_the_page_explains_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    change, command = block.replace("\\\n", " ").strip().split("\n")
    arguments = shlex.split(command.replace("why.png", str(tmp_path / "why.png")).replace("why.csv", str(tmp_path / "why.csv")))
    monkeypatch.chdir(ROOT / change.removeprefix("cd "))
    result = CliRunner().invoke(app, arguments[1:], prog_name="seqxai")
    assert result.exit_code == 0, result.stderr
    assert "river: 365 rows, 2005-04-26 to 2006-04-25" in result.stdout
    assert "closed" in result.stdout
    assert "NOT CLOSED" not in result.stdout
    table = np.genfromtxt(tmp_path / "why.csv", delimiter=",", names=True, dtype=None, encoding="utf-8", deletechars="")
    explained = float(re.findall(r"discharge = (\S+)", result.stdout)[0])
    balance = sum(float(v) for v in re.findall(r"(?:input|bias|stabilizer) ([+-]\S+)", result.stdout))
    assert balance == pytest.approx(explained, abs=5e-3)  # three digits are printed
    assert float(np.sum(table["R"])) == pytest.approx(float(re.findall(r"input ([+-]\S+)", result.stdout)[0]), abs=5e-3)
    assert (tmp_path / "why.png").stat().st_size > 50_000


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "series.md", "exec"), names)
    assert names["Runoff"]()(torch.zeros(2, 4, 5)).shape == (2, 1)
    assert names["attribution"].relevance.shape == (2, 4, 50, 2)
    assert (tmp_path / "why.pdf").read_bytes().startswith(b"%PDF")
