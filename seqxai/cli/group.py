"""The program's command group: commands of other packages loaded when used, and every error ended cleanly."""

import importlib.metadata
import signal
import threading
import traceback
from types import FrameType
from typing import Any, NoReturn

import typer
import typer.core
import typer.main

from seqxai.errors import DependencyError, SeqxaiError

ENTRY_POINTS = "seqxai.commands"

# Help is printed without importing a group, so the line of each group we ship stands here.
HELP_LINES = {"atari": "Explain Atari agents: what do they look at when they decide?"}

# Module that a command may miss -> the extra of seqxai that installs it.
EXTRAS = {
    "ale_py": "rl",
    "av": "rl",
    "gymnasium": "rl",
    "tensorboard": "rl",
    "captum": "compare",
    "scipy": "analysis",
    "sklearn": "analysis",
    "stable_baselines3": "foreign",
    "tianshou": "foreign",
}


# Package that seqxai cannot do without -> the name under which it is installed.
REQUIRED = {
    "torch": "torch",
    "numpy": "numpy",
    "safetensors": "safetensors",
    "jaxtyping": "jaxtyping",
    "matplotlib": "matplotlib",
    "PIL": "Pillow",
    "rich": "rich",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything that tidies up after Ctrl-C tidies up after this, too."""


def heed_termination() -> None:
    """Let SIGTERM unwind the program like Ctrl-C, so that no temporary file stays; a second one ends it at once."""
    ours = threading.current_thread() is threading.main_thread()  # no other thread may set a handler
    if ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated


def interrupted(cause: KeyboardInterrupt) -> int:
    """Say what ended the program, and return the exit code for it: 130 after Ctrl-C, 143 after SIGTERM."""
    terminated = isinstance(cause, Terminated)
    typer.echo("terminated" if terminated else "interrupted", err=True)
    return 143 if terminated else 130


def _fail(error: SeqxaiError) -> NoReturn:
    """Print one line on stderr and leave with exit code 1."""
    typer.echo(f"error: {' '.join(str(error).splitlines())}", err=True)
    raise typer.Exit(1) from error


def missing_extra(error: ImportError) -> DependencyError | None:
    """The error to show for an import that failed for want of an extra, or None for any other failed import."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    return DependencyError(
        f"This command needs the package {module}, which is not installed; "
        f'install it with: pip install "seqxai[{EXTRAS[module]}]"'
    )


def broken_package(error: ImportError | OSError) -> DependencyError | None:
    """The error to show when a package seqxai cannot do without is missing or broken, or None for any other failure.

    A broken one fails on something of its own: the package is then the one whose module was being executed.
    """
    name = (getattr(error, "name", None) or "").partition(".")[0]
    frames = list(traceback.walk_tb(error.__traceback__))
    importing = [f.f_globals.get("__name__", "").partition(".")[0] for f, _ in frames if f.f_code.co_name == "<module>"]
    guilty = [package for package in (name, *reversed(importing)) if package in REQUIRED]
    if not guilty:
        return None
    package = REQUIRED[guilty[0]]
    reason = " ".join(str(error).split())[:200]
    return DependencyError(
        f"This command needs the package {package}, which cannot be imported ({reason}); "
        f"install it again with: pip install --force-reinstall {package}"
    )


class RegisteredGroup(typer.core.TyperCommand):
    """Stands for a group of another package: knows its name and help line, imports it when one of its commands runs."""

    def __init__(self, entry: importlib.metadata.EntryPoint) -> None:
        """Store the entry point; nothing is imported."""
        origin = entry.dist.name if entry.dist is not None else entry.module
        super().__init__(name=entry.name, help=HELP_LINES.get(entry.name, f"Commands of {origin}."))
        self.entry = entry

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        """Import the group and let it read the rest of the command line.

        Raises:
            SeqxaiError: the entry point does not name a ``typer.Typer``.
        """
        loaded = self.entry.load()
        if not isinstance(loaded, typer.Typer):
            raise SeqxaiError(
                f"The entry point {self.entry.name} = {self.entry.value} in {ENTRY_POINTS} must name a typer.Typer, "
                f"but it names a {type(loaded).__name__}; correct it in the package that registers it."
            )
        return typer.main.get_group(loaded).make_context(info_name, args, *rest, **extra)


class ProgramGroup(typer.core.TyperGroup):
    """The top level: its own commands, then the registered groups, with the exit codes of ``seqxai.cli``."""

    def __init__(self, **attributes: Any) -> None:
        """Add a stand-in for every registered group; a name of our own cannot be taken over."""
        super().__init__(**attributes)
        for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
            self.commands.setdefault(entry.name, RegisteredGroup(entry))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; user errors, missing packages, Ctrl-C and SIGTERM end in one line on stderr, anything else is a bug."""
        try:
            return super().invoke(ctx)
        except SeqxaiError as error:
            _fail(error)
        except (ImportError, OSError) as error:  # OSError: a shared library that a package lacks
            hint = (missing_extra(error) if isinstance(error, ImportError) else None) or broken_package(error)
            if hint is None:
                raise
            _fail(hint)
        except KeyboardInterrupt as cause:
            raise typer.Exit(interrupted(cause)) from None
