"""``seqxai doctor``: what is installed, which video encoders there are, and whether relevance is conserved here.

A report for a user whose machine misbehaves, and for a bug report: ``seqxai doctor --json``.
"""

import importlib
import importlib.metadata
import math
import os
import platform
from typing import TYPE_CHECKING, Any

import typer

from seqxai.cli.group import EXTRAS
from seqxai.cli.output import emit
from seqxai.errors import SeqxaiError

if TYPE_CHECKING:
    import torch

REQUIRED = ("torch", "numpy", "safetensors", "matplotlib")
OPTIONAL = {"ale-py": "ale_py", "av": "av"}
ENCODERS = ("libx264", "libvpx-vp9")
CLOSED = 1e-12  # of Σ|entries|·√nodes, in float64: when a ledger counts as closed


def run(*, as_json: bool, quiet: bool) -> None:
    """Print the report.

    Raises:
        SeqxaiError: the self-test did not pass; the report has been printed all the same.
    """
    report = examine()
    emit(report, as_json=as_json, text=describe(report))
    if not quiet:
        for package, found in report["optional"].items():
            if found is None:
                extra = EXTRAS[OPTIONAL[package]]
                typer.echo(f'{package} is not installed; pip install "seqxai[{extra}]" installs it', err=True)
    if not report["selftest"]["passed"]:
        raise SeqxaiError(f"The self-test of this installation failed: {report['selftest']['reason']}")


def examine() -> dict[str, Any]:
    """Collect the report as plain dictionaries that JSON can hold.

    Returns:
        ``seqxai``, ``python``, ``platform``, ``required`` and ``optional`` (package -> version or None), ``encoders``
        (name -> whether it can be used), ``threads`` (of torch), ``cores``, ``cuda``, and ``selftest``.
    """
    from seqxai.cli import version

    selftest, threads, cuda = _torch_report()
    return {
        "seqxai": version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "required": {package: installed(package) for package in REQUIRED},
        "optional": {package: installed(package) for package in OPTIONAL},
        "encoders": {name: has_encoder(name) for name in ENCODERS},
        "threads": threads,
        "cores": os.cpu_count(),
        "cuda": cuda,
        "selftest": selftest,
    }


def _torch_report() -> tuple[dict[str, Any], int | None, bool]:
    """Run the self-test where torch can be imported; a broken torch is a finding here, not a crash."""
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return {"passed": False, "reason": f"torch cannot be imported ({error})"}, None, False
    return self_test(), torch.get_num_threads(), torch.cuda.is_available()


def installed(package: str) -> str | None:
    """The installed version of a package, or None; the package is not imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def has_encoder(name: str) -> bool:
    """Whether PyAV is installed and brings the video encoder ``name``, for example ``libx264``."""
    try:
        codec = importlib.import_module("av.codec.codec")
    except (ImportError, OSError):
        return False
    try:
        codec.Codec(name, "w")
    except codec.UnknownCodecError:
        return False
    return True


def self_test() -> dict[str, Any]:
    """Explain a small random network with biases in float64 and check two identities.

    Returns:
        ``passed``; ``balance``, the largest gap of any sample's ledger under the ε rule, in units of Σ|entries|·√nodes,
        at most 1e-12; ``gradient``, the largest difference of LRP-0 from gradient × input as a share of the largest
        relevance, at most 1e-10; ``reason``, empty if it passed.  A number that is not finite is None.
    """
    import torch

    import seqxai

    network, x = _random_network()
    attribution = seqxai.LRP(network, composite="epsilon", ledger=True).attribute(x, target=1)
    ledger = attribution.ledger
    balance = float((ledger.gap.abs() / ledger.tolerance(precision=1.0)).max())

    watched = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(watched)[:, 1].sum(), watched)
    expected = gradient * x
    relevance = seqxai.LRP(network, composite="lrp-0").attribute(x, target=1).relevance
    difference = float((relevance - expected).abs().max() / expected.abs().max())

    measured = {"balance": balance, "gradient": difference}
    reasons = []
    if not balance <= CLOSED:
        reasons.append(f"the ledger is open by {balance:.1e} of its entries (at most {CLOSED:.0e} expected)")
    if not difference <= 1e-10:
        reasons.append(f"LRP-0 differs from gradient × input by {difference:.1e} (at most 1e-10 expected)")
    finite = {name: value if math.isfinite(value) else None for name, value in measured.items()}
    return {"passed": not reasons, "reason": "; ".join(reasons), **finite}


def _random_network() -> "tuple[torch.nn.Module, torch.Tensor]":
    """A convolution and two dense layers with random weights; the global random state is not touched."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):  # the layers initialise themselves before we overwrite them
        network = torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 3, stride=2),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(4 * 4 * 4, 8),
            torch.nn.ReLU(),
            torch.nn.Linear(8, 3),
        ).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator)
    return network.eval(), torch.rand(3, 2, 9, 9, dtype=torch.float64, generator=generator)


def describe(report: dict[str, Any]) -> str:
    """The report as aligned lines of text."""
    lines = [("seqxai", report["seqxai"]), ("python", f"{report['python']} on {report['platform']}")]
    lines += [(package, found or "not installed") for package, found in report["required"].items()]
    lines += [(package, found or "not installed") for package, found in report["optional"].items()]
    lines += [(f"encoder {name}", "available" if found else "missing") for name, found in report["encoders"].items()]
    cuda = "CUDA available" if report["cuda"] else "no CUDA"
    lines.append(("threads", f"{report['threads'] or 'unknown'} on {report['cores']} cores, {cuda}"))
    test = report["selftest"]
    if test["passed"]:
        outcome = f"passed: ledger closed to {test['balance']:.0e}, LRP-0 = gradient × input to {test['gradient']:.0e}"
    else:
        outcome = f"FAILED: {test['reason']}"
    lines.append(("self-test", outcome))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
