"""A group of commands as another package would register it; each command ends in its own way."""

import os
import signal
import time

import typer

from seqxai.cli.group import Terminated
from seqxai.errors import InputError

app = typer.Typer()


@app.command()
def video(seconds: int = 30) -> None:
    typer.echo(f"rendered {seconds} s")


@app.command()
def fail() -> None:
    raise InputError("expected a folder,\ngot a file; name its folder")


@app.command()
def interrupt() -> None:
    raise KeyboardInterrupt


@app.command()
def without_extra() -> None:
    raise ModuleNotFoundError("No module named 'ale_py'", name="ale_py")


@app.command()
def submodule_of_extra() -> None:
    raise ModuleNotFoundError("No module named 'sklearn.cluster'", name="sklearn.cluster")


@app.command()
def broken() -> None:
    raise ModuleNotFoundError("No module named 'seqxai.nothing'", name="seqxai.nothing")


@app.command()
def terminate() -> None:
    raise Terminated


@app.command()
def slow() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    finally:
        typer.echo("tidied up")


@app.command()
def without_required() -> None:
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


@app.command()
def broken_required() -> None:
    exec("raise OSError('libtorch_cpu.so: cannot open\\nshared object file')", {"__name__": "torch.library"})


@app.command()
def own_mistake() -> None:
    raise OSError(5, "Input/output error")
