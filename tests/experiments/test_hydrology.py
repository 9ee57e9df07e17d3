"""Kratzert et al. 2019 on simulated catchments: the water adds up, the measures are what they say, the program runs, the claims hold."""

import importlib
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import seqxai

ROOT = Path(__file__).parents[2]
EXPERIMENT = ROOT / "experiments" / "kratzert2019_hydrology"
MODULES = ("catchment", "model", "explain", "report", "figures", "run")


@pytest.fixture(scope="module")
def hydrology() -> Iterator[Any]:
    """The experiment's modules; their names are plain, so they leave again."""
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(EXPERIMENT))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(EXPERIMENT))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


# ---- the catchments ----------------------------------------------------------------------------------------------------


def test_no_water_is_lost_or_made(hydrology):
    """Without radiation nothing evaporates: what falls leaves as discharge or is in a storage."""
    catchment = hydrology.catchment
    basin = catchment.simulate(catchment.CLIMATES["A"], years=2, seed=3)
    weather = basin.inputs.copy()
    weather[:, 1] = 0.0
    states, discharge = catchment.water(catchment.CLIMATES["A"], weather)
    assert weather[:, 0].sum() == pytest.approx(discharge.sum() + states[-1].sum() - 80.0, rel=1e-12)  # 80 mm were there
    assert basin.inputs[:, 0].sum() > basin.discharge.sum() + basin.states[-1].sum() - 80.0  # with it, some does
    assert states.min() >= 0


def test_the_basins_are_what_the_chapter_needs(hydrology):
    snowy, rainy = (hydrology.catchment.simulate(hydrology.catchment.CLIMATES[name], years=6) for name in "AB")
    assert 0.45 < snowy.snow_fraction < 0.65  # 56 % in Table 19.1
    assert rainy.snow_fraction == 0.0
    assert rainy.states[:, 0].max() == 0.0
    assert np.array_equal(snowy.inputs[:, 0], rainy.inputs[:, 0])
    assert (str(snowy.dates[0]), str(snowy.dates[-1])) == ("1980-10-01", "1986-09-30")
    assert snowy.day_of_year[0] == 275  # of a leap year


def test_the_true_effect_of_rain_is_the_response_of_linear_storages(hydrology):
    """Without evaporation the storages are linear: an effect is the amount times the response to 1 mm."""
    catchment = hydrology.catchment
    climate = catchment.CLIMATES["B"]
    basin = catchment.simulate(climate, years=1, seed=1)
    basin.inputs[:, 1] = 0.0
    basin.states[:], basin.discharge[:] = catchment.water(climate, basin.inputs)
    effects = catchment.true_effects(climate, basin, last=200, steps=30, reference=2.0)
    keep = 1 - climate.quick - climate.percolation
    upper, lower, response = 1.0, 0.0, []
    for _ in range(30):
        # rain of a day is in the upper zone when the next day's outflow is taken
        response.append(climate.quick * upper + climate.base * lower)
        lower += climate.percolation * upper - climate.base * lower
        upper *= keep
    expected = (basin.inputs[171:200, 0] - 2.0) * np.array(response[:29])[::-1]
    assert effects[:-1] == pytest.approx(expected, abs=1e-12)
    assert effects[-1] == 0.0


# ---- the measures ------------------------------------------------------------------------------------------------------


def test_time_steps_of_influence_are_eq_19_7(hydrology):
    steps = torch.tensor([
        [0.0, 0.0, 0.0, 1.0, 1.0],  # the first difference above the threshold is at t = 4: 5 - 4
        [0.0, -0.003, 0.0, 0.0, 0.0],  # at t = 2, whatever its sign
        [0.5, 0.5, 0.5, 0.501, 0.5],  # none is large enough
    ])  # fmt: skip
    assert hydrology.explain.time_steps_of_influence(steps).tolist() == [1, 3, 0]
    memory = hydrology.explain.days_of_memory(torch.tensor([[0.0, 0.0, 0.1, -0.9], [0.0, 0.06, 0.04, 0.9], [1.0, 0.0, 0.0, 0.0]]))
    assert memory.tolist() == [2, 3, 4]


def test_correlations_are_of_each_sample_over_time(hydrology):
    storages = torch.rand(4, 30, 2)
    storages[0, :, 1] = 0.0  # never changes: does not count
    cells = torch.stack([3 * storages[..., 0] + 1, -storages[..., 1], torch.rand(4, 30)], -1)
    rho = hydrology.explain.correlations(cells, storages)
    assert rho[0, 0] == pytest.approx(1.0)
    assert rho[1, 1] == pytest.approx(-1.0)
    one = np.mean([np.corrcoef(cells[i, :, 2], storages[i, :, 0])[0, 1] for i in range(4)])
    assert float(rho[2, 0]) == pytest.approx(one, rel=1e-5)
    months = np.array([0, 0, 1, 1])
    ends, store = torch.tensor([[1.0], [2.0], [10.0], [11.0]]), torch.tensor([5.0, 6.0, 1.0, 2.0])
    assert hydrology.explain.anomaly_correlations(ends, store, months).tolist() == pytest.approx([1.0])


def test_the_slope_tells_which_way_an_input_pushes(hydrology):
    x = torch.randn(3, 8, 2) - 1.0  # mostly below the mean
    found = hydrology.explain.influence(torch.tensor([0.5, -0.25]) * x, x)
    assert found["slope"] == pytest.approx([0.5, -0.25], rel=1e-5)
    assert found["relevance"][0] < 0  # though the input raises the output


# ---- the program -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(hydrology, tmp_path_factory):
    """Basin A of the quick mode, run from beginning to end."""
    out = tmp_path_factory.mktemp("hydrology")
    options = Namespace(out=out, seed=0)
    files, shown = hydrology.run.run_basin("A", hydrology.run.QUICK, options)
    return SimpleNamespace(files=files, shown=shown, out=out, options=options, run=hydrology.run)


def test_a_short_training_predicts_and_is_explained(small, hydrology):
    case = small.shown["case"]
    value = {line["quantity"]: line["value"] for line in small.files["results"] if not line["method"]}
    assert float(value["NSE train"]) > 0.2
    x = case.data.windows(case.days)
    with torch.no_grad():
        y, zero = case.model(x)[:, 0], case.model(torch.zeros_like(x))[:, 0]
    gaps = (small.shown["relevance"]["IG"].sum((1, 2)) - (y - zero)).abs()
    assert gaps.mean() < 0.03  # 20 points
    (told,) = [line["value"] for line in small.files["results"] if line["method"] == "IG" and line["quantity"].startswith("largest |ΣR")]
    assert float(told) == pytest.approx(float(gaps.max()), rel=0.05)
    lrp = seqxai.LRP(case.model, ledger=True).attribute(x, target=0)
    assert lrp.ledger.closed()
    assert torch.equal(lrp.relevance, small.shown["relevance"]["LRP"])
    states = hydrology.explain.cell_states(case.model, x)
    assert (states[:, -1] - case.model.lstm(x)[1][1][0]).abs().max() < 1e-4


def test_it_goes_on_where_it_was_and_writes_what_it_found(small, hydrology):
    files = [small.out / "A.safetensors", small.out / "A-relevance.safetensors"]
    before = [path.stat().st_mtime_ns for path in files]
    again, shown = small.run.run_basin("A", hydrology.run.QUICK, small.options)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert again == small.files
    hydrology.report.write(small.out, again)
    assert "Basin A: how many past days count" in (small.out / "tables.md").read_text()
    hydrology.report.example(small.out / "river", shown["case"])
    assert {path.name for path in (small.out / "river").iterdir()} == {"river.csv", "river.safetensors", "scale.csv"}


def test_the_figures_show_both_methods(small, hydrology):
    figure = hydrology.figures.snow_cell(small.shown)
    assert any("b   LRP" in text.get_text() for axes in figure.axes for text in axes.texts)
    figure = hydrology.figures.influence({"A": small.shown})
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == ["LRP", "integrated gradients", "truth"]


# ---- what is in the repository -----------------------------------------------------------------------------------------


def test_the_tables_of_the_readme_are_those_of_the_results(hydrology):
    text = (EXPERIMENT / "README.md").read_text(encoding="utf-8")
    written = text.split(hydrology.report.BEGIN)[1].split(hydrology.report.END)[0]
    assert written.strip() == hydrology.report.tables(EXPERIMENT).strip()


def test_what_the_readme_says_holds_in_the_results(hydrology):
    value = {(r["basin"], r["quantity"], r["method"]): float(r["value"]) for r in hydrology.report.read(EXPERIMENT / "results.csv")}
    for basin, published in (("A", 0.76), ("B", 0.72)):
        assert value[basin, "NSE test", ""] > published
    agreement = "agreement with true effects of precipitation"
    assert value["B", agreement, "IG"] > 0.95
    assert value["B", agreement, "LRP"] > 0.7
    assert value["A", agreement, "LRP"] < value["A", agreement, "IG"] < 0.7  # in A neither finds it
    for basin, storage in (("A", "SWE"), ("A", "LZS"), ("B", "UZS"), ("B", "LZS")):
        assert value[basin, f"{storage}: cells with |ρ| > 0.5", ""] >= 5
    assert value["A", "snow cell, relevance: precipitation", "IG"] > 0 > value["A", "snow cell, relevance: radiation", "IG"]
    assert value["A", "snow cell, slope: radiation", "IG"] > 0  # which is why its sign cannot be read from relevance
    assert value["A", "snow cell, slope: tmin", "IG"] < 0 > value["A", "snow cell, slope: tmin", "LRP"]
    assert value["A", "largest |ΣR - (f(x) - f(0))|", "IG"] < 0.01
    seasons = hydrology.report.read(EXPERIMENT / "seasons.csv")
    median = {(r["basin"], r["quantity"], r["method"], int(r["from"])): float(r["q50"]) for r in seasons}
    melt = median["A", "TSOI", "IG", 100]
    assert melt == max(median["A", "TSOI", "IG", day] for day in (1, 100, 160, 200, 300))
    assert melt > 2 * median["A", "TSOI", "IG", 300]
    assert min(median["A", "memory of precipitation", "truth", day] for day in (1, 160, 200, 300)) > 200
    assert max(median["A", "memory", "LRP", day] for day in (1, 100, 160, 200, 300)) < 150
