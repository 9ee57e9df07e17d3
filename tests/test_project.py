"""The project as a whole: metadata that agrees with itself, names that resolve, docstrings, sizes, no local paths."""

import ast
import importlib
import importlib.metadata
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("seqxai", "rl")
GENERATED = {"build", "dist", "out"}
BINARY = {".npz", ".png", ".jpg", ".gif", ".mp4", ".safetensors", ".pdf"}


def project_files() -> list[Path]:
    """The files under version control or about to be; in an unpacked archive every file that is not generated."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
        candidates = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        candidates = [
            path
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") or part in GENERATED for part in path.relative_to(ROOT).parts)
        ]
    return sorted(path for path in candidates if path.is_file())


FILES = project_files()
SOURCES = [path for path in FILES if path.suffix == ".py"]
MODULES = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES]
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_tree_was_found():
    assert {"seqxai/errors.py", "seqxai/cli/__init__.py", "tests/test_project.py"} <= {name(path) for path in SOURCES}


def test_every_entry_point_resolves():
    declared = {**METADATA["scripts"], **METADATA["entry-points"]["seqxai.commands"]}
    assert declared == {"seqxai": "seqxai.cli:main", "atari": "rl.cli:app"}
    for value in declared.values():
        module, attribute = value.split(":")
        assert callable(getattr(importlib.import_module(module), attribute)), value


def test_the_installed_metadata_is_this_project():
    try:
        installed = importlib.metadata.metadata("seqxai")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("seqxai is not installed; make test installs it")
    assert installed["Version"] == METADATA["version"]
    assert installed["License-Expression"] == "BSD-3-Clause"
    assert set(installed.get_all("Provides-Extra") or []) == set(METADATA["optional-dependencies"])


def test_version_and_licence_are_told_once():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {METADATA['version']}\n" in citation
    assert f"\nlicense: {METADATA['license']}\n" in citation
    assert (ROOT / "LICENSE").read_text().startswith("BSD 3-Clause License")
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_nothing_is_pinned_from_above():
    declared = [*METADATA["dependencies"], *chain.from_iterable(METADATA["optional-dependencies"].values())]
    for requirement in map(Requirement, declared):
        assert {clause.operator for clause in requirement.specifier} <= {">="}, str(requirement)


def test_constraints_pin_every_package_of_a_fresh_set_up():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in pins:
        (clause,) = pin.specifier
        assert clause.operator == "==", str(pin)
        assert "+" not in clause.version, f"{pin}: a local build is on no other machine's index"
        versions[canonicalize_name(pin.name)] = clause.version
    assert versions["torch"] == "2.13.0"
    assert len(versions) == len(pins)
    extras = METADATA["optional-dependencies"]
    wanted = [*METADATA["dependencies"], *extras["rl"], *extras["compare"], *extras["analysis"], *extras["dev"]]
    for requirement in map(Requirement, wanted):
        if requirement.name != METADATA["name"]:
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), str(requirement)


def test_constraints_are_complete_for_what_is_installed():
    """What a pinned package requires here is pinned too (but for torch's CUDA packages, which torch pins itself)."""
    text = (ROOT / "constraints.txt").read_text()
    pinned = {canonicalize_name(line.split("==")[0]) for line in text.splitlines() if "==" in line}
    missing = set()
    for package in pinned:
        for required in map(Requirement, importlib.metadata.requires(package) or []):
            wanted = required.marker is None or required.marker.evaluate({"extra": ""})
            if wanted and not required.name.startswith(("nvidia-", "cuda-", "triton")):
                missing |= {canonicalize_name(required.name)} - pinned
    assert missing == set()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    bare = [] if ast.get_docstring(tree) else ["the module"]
    owners = [tree, *[node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]]
    for owner in owners:
        for node in owner.body:
            defines = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if defines and not node.name.startswith("_") and not is_overload(node) and not ast.get_docstring(node):
                bare.append(f"{node.name} in line {node.lineno}")
    assert bare == []


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).split(".")[-1] == "overload" for decorator in node.decorator_list)


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_file_is_two_things_and_no_function_a_novel(path):
    text = path.read_text()
    assert text.count("\n") <= 500
    longest = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            longest[node.name] = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
    assert {function: lines for function, lines in longest.items() if lines > 60} == {}


@pytest.mark.parametrize("path", [path for path in MODULES if name(path).startswith("seqxai/")], ids=name)
def test_seqxai_never_imports_rl(path):
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        assert not [module for module in modules if module.split(".")[0] in ("rl", "experiments", "tests")]


def test_no_file_names_a_path_of_somebodys_machine():
    machine = re.compile(r"(?<![\w.~)}/])/(?:work|root|home|Users|tmp|opt|mnt)/[\w.]")
    found = []
    for path in FILES:
        if path.suffix in BINARY:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if machine.search(line):
                found.append(f"{name(path)}:{number}: {line.strip()}")
    assert found == []


def test_nothing_large_is_in_the_repository():
    assert [name(path) for path in FILES if path.stat().st_size > 4_500_000] == []


def test_packages_say_that_they_are_typed():
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)
