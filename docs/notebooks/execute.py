"""Run a notebook from top to bottom and keep what its cells show.

    python docs/notebooks/execute.py docs/notebooks/explain_a_sequence.ipynb

Our notebooks have plain Python cells, no magics, so running a cell is running its code, as a kernel does: no Jupyter is needed to make
or to test them. Figures are kept as PNG, results with `_repr_html_` as HTML, others as text.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

DPI = 90


def execute(notebook: dict[str, Any]) -> dict[str, Any]:
    """Run the code cells in one namespace; outputs and counts are written into the notebook.

    Returns:
        The namespace.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"], cell["outputs"] = count, _run("".join(cell["source"]), count, names)
    return names


def _run(source: str, count: int, names: dict[str, Any]) -> list[dict[str, Any]]:
    """The outputs of a cell: what it prints, then the value of a last expression, unless a semicolon ends it."""
    tree = ast.parse(source, f"cell {count}")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, f"cell {count}", "exec"), names)
        value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names) if isinstance(last, ast.Expr) else None
    text = printed.getvalue()
    outputs: list[dict[str, Any]] = [{"output_type": "stream", "name": "stdout", "text": _lines(text)}] if text else []
    if value is not None and not source.rstrip().endswith(";"):
        outputs.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": _shown(value)})
    return outputs


def _shown(value: Any) -> dict[str, Any]:
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
        return {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": ["<Figure>"]}
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    return {"text/html": _lines(html), "text/plain": [type(value).__name__]} if html else {"text/plain": _lines(repr(value))}


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        notebook = json.loads(path.read_text(encoding="utf-8"))
        execute(notebook)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{path}: {sum(cell['cell_type'] == 'code' for cell in notebook['cells'])} cells")


if __name__ == "__main__":
    main()
