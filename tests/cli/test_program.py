"""The program itself: start-up, registered groups, and how every kind of error ends."""

import importlib.metadata
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seqxai.cli import app, emit
from seqxai.cli.group import ENTRY_POINTS, HELP_LINES

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "matplotlib", "safetensors", "ale_py", "av", "gymnasium")


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), prog_name="seqxai")


@pytest.fixture
def registered(monkeypatch):
    """Two groups registered by other packages: one as it should be, one that names the wrong thing."""
    entries = [
        importlib.metadata.EntryPoint("atari", "tests.cli.sample_commands:app", ENTRY_POINTS),
        importlib.metadata.EntryPoint("wrong", "tests.cli.sample_commands:video", ENTRY_POINTS),
        importlib.metadata.EntryPoint("doctor", "tests.cli.sample_commands:app", ENTRY_POINTS),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries if group == ENTRY_POINTS else [])
    monkeypatch.delitem(sys.modules, "tests.cli.sample_commands", raising=False)


def in_a_fresh_process(*arguments: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Run the program and print, as the last line of stdout, which heavy packages it imported."""
    script = (
        "import sys\n"
        "from seqxai.cli import main\n"
        f"sys.argv = ['seqxai', *{list(arguments)!r}]\n"
        "try:\n    main()\n"
        f"finally:\n    print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    return time.perf_counter() - started, done


def test_help_answers_in_half_a_second_and_imports_nothing_heavy():
    fastest = float("inf")
    for _ in range(6):  # a busy machine may be slow once, not six times
        seconds, done = in_a_fresh_process("--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"
        fastest = min(fastest, seconds)
        if fastest < 0.5:
            break
    assert fastest < 0.5
    assert "Example:  seqxai atari video --seconds 30 --out breakout.mp4" in done.stdout
    assert "doctor" in done.stdout


def test_version_is_the_installed_one():
    _, done = in_a_fresh_process("--version")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert done.stdout.splitlines()[0] in (f"seqxai {declared}", "seqxai not installed")
    assert done.stdout.splitlines()[-1] == "[]"


def test_our_own_group_is_listed_and_its_help_is_light():
    if not importlib.metadata.entry_points(group=ENTRY_POINTS):
        pytest.skip("seqxai is not installed: no entry points to list")
    _, done = in_a_fresh_process("--help")
    assert HELP_LINES["atari"] in done.stdout
    _, done = in_a_fresh_process("text", "train", "--help")
    assert "trees of the SST" in done.stdout
    assert "torch" not in done.stdout.splitlines()[-1]
    _, done = in_a_fresh_process("atari", "--help")
    assert done.returncode == 0, done.stderr
    assert "video" in done.stdout
    assert "torch" not in done.stdout.splitlines()[-1]


@pytest.mark.usefixtures("registered")
def test_help_lists_a_group_without_importing_it():
    result = run("--help")
    assert result.exit_code == 0
    assert HELP_LINES["atari"] in result.output
    assert "Commands of tests.cli.sample_commands." in result.output
    assert "tests.cli.sample_commands" not in sys.modules


def test_help_lines_are_those_of_the_groups():
    from rl.cli import app as atari

    assert {"atari": atari.info.help} == HELP_LINES


@pytest.mark.usefixtures("registered")
def test_a_registered_group_runs_its_commands_with_their_options():
    assert run("atari", "video").output == "rendered 30 s\n"
    assert run("atari", "video", "--seconds", "5").output == "rendered 5 s\n"


@pytest.mark.usefixtures("registered")
def test_a_registered_group_cannot_take_a_name_of_ours():
    assert "Check this installation" in " ".join(run("doctor", "--help").output.split())


@pytest.mark.usefixtures("registered")
def test_an_entry_point_that_is_no_program_is_named():
    result = run("wrong", "video")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: The entry point wrong = tests.cli.sample_commands:video in seqxai.commands must name a typer.Typer, "
        "but it names a function; correct it in the package that registers it.\n"
    )


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("arguments", "suggested"), [(("atari", "vido"), "'video'"), (("atri",), "'atari'"), (("docter",), "'doctor'")]
)
def test_a_mistyped_command_suggests_the_nearest(arguments, suggested):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "No such command" in result.stderr
    assert f"Did you mean {suggested}?" in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("registered")
def test_a_mistyped_option_or_value_is_a_usage_error():
    result = run("atari", "video", "--seconds", "many")
    assert result.exit_code == 2
    assert "'--seconds'" in result.stderr
    assert run("atari", "video", "--second", "3").exit_code == 2


@pytest.mark.usefixtures("registered")
def test_a_user_error_is_one_line_without_a_traceback():
    result = run("atari", "fail")
    assert result.exit_code == 1
    assert result.stderr == "error: expected a folder, got a file; name its folder\n"
    assert result.stdout == ""


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("command", "module", "extra"), [("without-extra", "ale_py", "rl"), ("submodule-of-extra", "sklearn", "analysis")]
)
def test_a_missing_extra_says_how_to_install_it(command, module, extra):
    result = run("atari", command)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: This command needs the package {module}, which is not installed; "
        f'install it with: pip install "seqxai[{extra}]"\n'
    )


@pytest.mark.usefixtures("registered")
def test_any_other_failed_import_is_a_bug_and_stays_visible():
    result = run("atari", "broken")
    assert isinstance(result.exception, ModuleNotFoundError)
    assert result.exception.name == "seqxai.nothing"


@pytest.mark.usefixtures("registered")
def test_ctrl_c_ends_with_130():
    result = run("atari", "interrupt")
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("without-required", "No module named 'torch'"),
        ("broken-required", "libtorch_cpu.so: cannot open shared object file"),
    ],
)
def test_a_package_we_cannot_do_without_is_named(command, reason):
    result = run("atari", command)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: This command needs the package torch, which cannot be imported ({reason}); "
        "install it again with: pip install --force-reinstall torch\n"
    )


@pytest.mark.usefixtures("registered")
def test_a_system_error_of_our_own_is_a_bug_and_stays_visible():
    assert isinstance(run("atari", "own-mistake").exception, OSError)


@pytest.mark.usefixtures("registered")
def test_termination_ends_with_143():
    result = run("atari", "terminate")
    assert result.exit_code == 143
    assert result.stderr == "terminated\n"


def test_sigterm_tidies_up_like_ctrl_c():
    script = (
        "import signal, sys\n"
        "from seqxai.cli import app, main\n"
        "from tests.cli.sample_commands import slow\n"
        "app.command()(slow)\n"
        "sys.argv = ['seqxai', 'slow']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "tidied up\n", "terminated\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("word", ["result", "--version", "--help"])
def test_a_full_stdout_is_one_sentence(word):
    script = (
        "import sys\n"
        "from seqxai.cli import app, emit, main\n"
        "app.command('result')(lambda: emit({}, as_json=True, text=''))\n"
        f"sys.argv = ['seqxai', {word!r}]\n"
        "main()\n"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == (
        "error: Cannot write the result to standard output: No space left on device; send it where there is room.\n"
    )


def test_a_result_is_one_json_object_or_text(capsys):
    emit({"score": 1.5, "name": "Σ"}, as_json=True, text="unused")
    assert json.loads(capsys.readouterr().out) == {"score": 1.5, "name": "Σ"}
    emit({"score": 1.5}, as_json=False, text="the score is 1.5")
    assert capsys.readouterr().out == "the score is 1.5\n"
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit({"score": float("nan")}, as_json=True, text="")
