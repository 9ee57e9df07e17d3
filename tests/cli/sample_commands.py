"""A group of commands as another package would register it; each command ends in its own way."""

import typer

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
