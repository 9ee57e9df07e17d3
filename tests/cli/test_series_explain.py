"""`seqxai series explain`: numbers, balance, figure and table of one's own model, and every wrong request in one sentence."""

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

import seqxai
from seqxai.cli import app

MODULE = '''
import torch
from torch import nn

class Every(nn.Module):
    def __init__(self, batch_first=True):
        super().__init__()
        self.lstm, self.read = nn.LSTM(2, 4, batch_first=batch_first), nn.Linear(4, 3)
    def forward(self, x):
        return self.read(self.lstm(x)[0])

class Last(Every):
    def forward(self, x):
        return super().forward(x)[:, -1]

class Major(Every):
    def __init__(self):
        super().__init__(batch_first=False)
    def forward(self, x):
        return super().forward(x)[-1]

def broken():
    raise ValueError("no data")

number = 3
'''
ROWS = [(0.5, 1.0), (-1.0, 2.0), (0.25, -0.5), (2.0, 0.0), (1.0, 1.5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module with models, weights, and two files of five days."""
    place = tmp_path_factory.mktemp("own")
    (place / "own_series_models.py").write_text(MODULE)
    for name, shift in (("north", 0.0), ("south", 1.0)):
        lines = [f"2004-01-0{day},{rain + shift},{heat}" for day, (rain, heat) in enumerate(ROWS, 1)]
        (place / f"{name}.csv").write_text("\n".join(["date,rain,heat", *lines, ""]))
    torch.manual_seed(1)
    save_file(network().state_dict(), str(place / "w.safetensors"))
    torch.save(network().state_dict(), place / "w.pt")
    return place


def network() -> nn.Module:
    names: dict[str, type[nn.Module]] = {}
    exec(MODULE, names)
    torch.manual_seed(1)
    return names["Last"]()


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str):
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, ["series", "explain", *line.split()], prog_name="seqxai")


OWN = "own_series_models:Last north.csv --weights w.safetensors"


def expected(target: int, rows: int = 5, **options):
    x = torch.tensor([ROWS[:rows]])
    return seqxai.LRP(network(), ledger=True, **options).attribute(x, target=target)


def test_the_numbers_are_those_of_the_library(folder, monkeypatch, tmp_path):
    result = run(folder, monkeypatch, f"{OWN} --target 2 --target 0 --json --csv-out {tmp_path / 'r.csv'} --out {tmp_path / 'f.png'}")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    (series,) = found["series"]
    assert (series["name"], series["rows"], series["first"], series["last"]) == ("north", 5, "2004-01-01", "2004-01-05")
    with (tmp_path / "r.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    for index, target in enumerate((2, 0)):
        own = expected(target)
        entry = series["targets"][index]
        assert entry["explained"] == pytest.approx(float(own.explained), rel=1e-6)
        assert entry["closed"] is True
        assert {name: value for name, value in entry["balance"].items() if value} == pytest.approx(
            {name: float(value) for name, value in own.ledger.total().items() if value}, rel=1e-4, abs=1e-9
        )
        assert list(entry["by_channel"].values()) == pytest.approx(own.relevance[0].sum(0).tolist(), rel=1e-5)
        rows = table[5 * index : 5 * index + 5]
        assert [float(row["R rain"]) for row in rows] == pytest.approx(own.relevance[0, :, 0].tolist(), rel=1e-5)
        assert [float(row["R"]) for row in rows] == pytest.approx(own.relevance[0].sum(1).tolist(), rel=1e-5)
        assert [(row["time"], float(row["heat"])) for row in rows] == [(f"2004-01-0{d}", h) for d, (_, h) in enumerate(ROWS, 1)]
    assert (tmp_path / "f.png").stat().st_size > 10_000


@pytest.mark.parametrize("form", ["Every", "Last", "Major"])
def test_every_form_of_model_is_explained_alike(folder, monkeypatch, form):
    options = " --time-major" if form == "Major" else ""
    line = f"own_series_models:{form} north.csv --weights w.pt --target 1 --step 2004-01-04 --json{options}"
    result = run(folder, monkeypatch, line)
    assert result.exit_code == 0, result.stderr
    (entry,) = json.loads(result.stdout)["series"][0]["targets"]
    own = expected(1, rows=4)
    assert entry["explained"] == pytest.approx(float(own.explained), rel=1e-5)
    assert list(entry["by_channel"].values()) == pytest.approx(own.relevance[0].sum(0).tolist(), rel=1e-4)


def test_scale_window_names_and_rule_are_heeded(folder, monkeypatch):
    (folder / "scale.csv").write_text("column,mean,std\nheat,1,2\nrain,0.5,4\n")
    names = "--output-names low,mid,high --target high"
    rule = "--composite epsilon --epsilon 0.01 --product half"
    result = run(folder, monkeypatch, f"{OWN} --normalise scale.csv --last 3 {names} {rule} --json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    (entry,) = found["series"][0]["targets"]
    x = (torch.tensor([ROWS[2:]]) - torch.tensor([0.5, 1.0])) / torch.tensor([4.0, 2.0])
    own = seqxai.LRP(network(), seqxai.composites.Epsilon(0.01), product="half").attribute(x, target=2)
    assert (entry["target"], found["method"]) == ("high", "LRP, composite epsilon, ε = 0.01, gates half")
    assert list(entry["by_channel"].values()) == pytest.approx(own.relevance[0].sum(0).tolist(), rel=1e-5)


def test_several_series_and_a_method_without_ledger(folder, monkeypatch, tmp_path):
    line = f"own_series_models:Last north.csv south.csv --method integrated-gradients --weights w.pt --target 0 --out {tmp_path / 'f.svg'}"
    result = run(folder, monkeypatch, line)
    assert result.exit_code == 0, result.stderr
    assert "north: 5 rows, 2004-01-01 to 2004-01-05" in result.stdout
    assert "balance    none: this method has no ledger" in result.stdout
    own = seqxai.comparison.IntegratedGradients(network()).attribute(torch.tensor([ROWS]), target=0)
    assert f"sums to {float(own.relevance.sum()):.5g}" in result.stdout
    assert (tmp_path / "f.svg").read_text().count("<svg") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("w.pt north.csv", r"Expected MODEL as package.module:factory, got 'w.pt'; a file of weights does not say how"),
        ("own_series_models:broken north.csv", "calling it without arguments failed (ValueError: no data)"),
        ("own_series_models:number north.csv", "names something of type int; expected a function"),
        ("own_series_models:Last north.csv --weights north.csv", "cannot be read as weights without running its code"),
        ("own_series_models:Major north.csv", "got shape (5, 3); it seems to read the steps first: give --time-major."),
        (f"{OWN} --columns rain", "The model cannot read a series of 5 steps and 1 channels, shape (1, 5, 1)"),
        (f"{OWN} --target 3", "Expected an output from 0 to 2, got '3'."),
        (f"{OWN} --target high --output-names a,b,c", "Expected an output from 0 to 2, or a name among a, b, c, got 'high'."),
        (f"{OWN} --output-names a", "Expected a name for each of the model's 3 outputs, got 1: a."),
        (f"{OWN} --method shap", "Expected a method among lrp, gradient, gradient-times-input, integrated-gradients,"),
        (f"{OWN} --method occlusion --product half", "--product belongs to the method lrp, and the method is occlusion"),
        (f"{OWN} --composite lrp-0 --epsilon 1", "The composite lrp-0 has no ε; leave --epsilon out"),
        (f"{OWN} --normalise mean", "Expected none, data or a CSV file of means and deviations as --normalise, got 'mean'."),
        (f"{OWN} --step 2005-01-01", "north has no step '2005-01-01'"),
        (f"{OWN} --only east", "There is no series 'east'; the files have north."),
        (f"{OWN} north.csv", "Two series are called 'north'; give the files different names."),
        (f"{OWN} --out why.gif", "expected a name ending in .png or .svg or .pdf, got .gif"),
        (f"{OWN} --out why.png --palette jet", "Unknown palette 'jet'"),
        (f"{OWN} --out why.png --target 0 --target 1 --target 2 --target 0 --target 1", "A figure has room for 4 targets, got 5"),
        (f"{OWN} --decimal x", 'Expected "." or "," as --decimal, got \'x\'.'),
    ],
)
def test_wrong_requests_are_refused_in_a_sentence(folder, monkeypatch, line, message):
    before = {path.name for path in folder.iterdir()}
    result = run(folder, monkeypatch, line)
    assert result.exit_code == 1, result.stdout
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert {path.name for path in folder.iterdir()} - before <= {"__pycache__"}
