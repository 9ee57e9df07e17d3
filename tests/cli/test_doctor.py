"""``seqxai doctor``: its numbers, its hints and its exit code."""

import importlib.metadata
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from seqxai.cli import app, doctor

FAILED = {"passed": False, "reason": "the ledger is open by 3.0e-02 of its entries", "balance": 0.03, "gradient": None}


def run(*arguments: str):
    return CliRunner().invoke(app, ["doctor", *arguments], prog_name="seqxai")


def test_the_self_test_passes_here_with_small_numbers_that_are_not_nothing():
    state = torch.random.get_rng_state()
    test = doctor.self_test()
    assert test["passed"], test["reason"]
    assert 0 <= test["balance"] <= 1e-12
    assert 0 <= test["gradient"] <= 1e-10
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_self_test_notices_an_open_ledger(monkeypatch):
    import seqxai

    class Leaky(seqxai.LRP):
        def attribute(self, *arguments, **options):
            found = super().attribute(*arguments, **options)
            ledger = replace(found.ledger, explained=found.explained * 1.1)
            return SimpleNamespace(relevance=1.5 * found.relevance, ledger=ledger)

    monkeypatch.setattr(seqxai, "LRP", Leaky)
    test = doctor.self_test()
    assert not test["passed"]
    assert "the ledger is open by" in test["reason"]
    assert "LRP-0 differs from gradient × input by 5.0e-01" in test["reason"]


def test_json_holds_the_whole_report():
    result = run("--json", "--quiet")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["required"]["torch"] == importlib.metadata.version("torch")
    assert report["threads"] == torch.get_num_threads()
    assert set(report["encoders"]) == {"libx264", "libvpx-vp9"}
    assert report["selftest"]["passed"] is True
    assert result.stderr == ""


def test_text_is_one_aligned_line_per_finding(monkeypatch):
    monkeypatch.setattr(
        doctor, "self_test", lambda: {"passed": True, "balance": 2e-17, "gradient": 3e-16, "reason": ""}
    )
    lines = run().stdout.splitlines()
    assert any(line.split() == ["torch", importlib.metadata.version("torch")] for line in lines)
    assert lines[-1].split("  ", 1)[1].strip() == ("passed: ledger closed to 2e-17, LRP-0 = gradient × input to 3e-16")


def test_a_failed_self_test_prints_the_report_and_exits_with_1(monkeypatch):
    monkeypatch.setattr(doctor, "self_test", lambda: FAILED)
    result = run("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["selftest"] == FAILED
    assert result.stderr.endswith(
        "error: The self-test of this installation failed: the ledger is open by 3.0e-02 of its entries\n"
    )


def test_a_torch_that_cannot_be_imported_is_reported(monkeypatch):
    def broken(name):
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    report = doctor.examine()
    assert report["selftest"]["reason"] == (
        "torch cannot be imported (libtorch_cpu.so: cannot open shared object file)"
    )
    assert report["threads"] is None
    assert "FAILED: torch cannot be imported" in doctor.describe(report)


def test_a_missing_extra_is_a_hint_not_a_failure(monkeypatch):
    known = importlib.metadata.version

    def without_av(package):
        if package == "av":
            raise importlib.metadata.PackageNotFoundError(package)
        return known(package)

    monkeypatch.setattr(importlib.metadata, "version", without_av)
    monkeypatch.setattr(doctor, "self_test", lambda: {"passed": True, "balance": 0.0, "gradient": 0.0, "reason": ""})
    result = run()
    assert result.exit_code == 0
    assert result.stderr == 'av is not installed; pip install "seqxai[rl]" installs it\n'
    assert run("--quiet").stderr == ""


def test_encoders_are_asked_for_by_name():
    pytest.importorskip("av", reason="needs the extra rl")
    assert doctor.has_encoder("libx264")
    assert not doctor.has_encoder("no-such-encoder")
