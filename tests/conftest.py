"""One seed for every test, one thread, a deterministic hypothesis, and the place of the reference data."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=30,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("fixed")

torch.set_num_threads(1)  # the tests run side by side, one process a core; more threads would only stand in their way


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the reference data (``SEQXAI_DATA``, or ``shared`` beside the checkout); skips without it."""
    candidates = [Path(os.environ["SEQXAI_DATA"])] if "SEQXAI_DATA" in os.environ else []
    candidates.append(Path(__file__).parents[2] / "shared")
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    pytest.skip(f"no reference data: neither SEQXAI_DATA nor {candidates[-1].name}/ beside the checkout is there")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``slow`` tests run only when ``-m`` speaks of them; ``gpu`` tests skip without a device."""
    expression = str(config.getoption("-m") or "")
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow and "slow" not in expression:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
