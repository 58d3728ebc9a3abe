"""Runs notebooks, each in a new folder and a kernel of its own, and writes them with their outputs: run_notebooks.py OUT NOTEBOOK..."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

LONGEST_S = 600  # of a cell


def run(path: Path, out: Path) -> None:
    """Run a notebook and write it below `out`; raises CellExecutionError, which shows the cell, where one fails."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=LONGEST_S, kernel_name="python3", resources=where)
        client.execute()
    out.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out / path.name)


if __name__ == "__main__":
    for argument in sys.argv[2:]:
        run(Path(argument), Path(sys.argv[1]))
