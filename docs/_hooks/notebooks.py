"""Shows the notebooks of docs/notebooks as pages (a hook of mkdocs): prose as it is, code, and beneath it what it printed and drew.

They are kept without outputs. Those come from `run_notebooks.py`, which leaves a run of each in a folder that mkdocs.yml names in
`extra.notebooks`; one that was not run is shown without, and a run of another text is a warning, which ends a strict build.
"""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = "notebooks"
_PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
_log = logging.getLogger("mkdocs.hooks.notebooks")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put a page, and the pictures on it, beside each notebook, which can be downloaded there."""
    for file in [one for one in files if one.src_uri.startswith(f"{FOLDER}/") and one.src_uri.endswith(".ipynb")]:
        path = Path(str(file.abs_src_path))
        text, pictures = page(_run_of(path, Path(config.config_file_path).parent / config.extra["notebooks"]), path.name)
        stem = file.src_uri.removesuffix(".ipynb")
        files.append(File.generated(config, f"{stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"{FOLDER}/{name}", content=content))
    return files


def _run_of(path: Path, runs: Path) -> Any:
    """Read a notebook, with its outputs where there is a run of it."""
    own = nbformat.read(path, as_version=4)
    run = runs / path.name
    if not run.is_file():
        return own
    done = nbformat.read(run, as_version=4)
    if [cell.source for cell in done.cells] != [cell.source for cell in own.cells]:
        _log.warning("%s: the run in %s is of another text; run docs/_hooks/run_notebooks.py again", path.name, runs)
        return own
    return done


def page(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures that it names."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            kind = next((kind for kind in _PICTURES if kind in output.get("data", {})), None)
            if kind is not None:
                picture = f"{Path(name).stem}-{number}-{len(pictures)}.{_PICTURES[kind]}"
                pictures[picture] = base64.b64decode(output["data"][kind])
                parts.append(f"![What the code above drew]({picture})")
            elif text := _text(output):
                parts.append(f'<div class="output" markdown>\n```text\n{text}\n```\n</div>')
    parts.insert(1, f"[Download this notebook]({name})")
    return "\n\n".join(parts) + "\n", pictures


def _text(output: Any) -> str:
    """Return what an output says in words."""
    if output.output_type == "stream":
        return str(output.text).rstrip()
    return str(output.get("data", {}).get("text/plain", "")).rstrip()
