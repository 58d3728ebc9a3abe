"""The repository root is the package: nothing forgotten, nothing leaked, nothing heavy at the start."""

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOT_PACKAGED = {"tests", "benchmarks", "docs", "build", "dist", "runs", "demo-out"}
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_folders() -> list[Path]:
    """Every folder of Python files that is ours to ship, the root among them."""
    found = {file.parent for file in ROOT.rglob("*.py")}
    return sorted(f for f in found if not any(part in NOT_PACKAGED or part.startswith(".") for part in f.relative_to(ROOT).parts))


def package_files() -> list[Path]:
    return sorted(file for folder in package_folders() for file in folder.glob("*.py"))


def run_outside(code: str, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_package_folder_is_listed_and_every_listed_one_exists() -> None:
    folders = {".".join(("crossgeo", *folder.relative_to(ROOT).parts)) for folder in package_folders()}
    assert folders == set(SETTINGS["tool"]["setuptools"]["packages"])
    assert all((folder / "__init__.py").is_file() for folder in package_folders())


def test_bare_names_are_banned_and_not_importable(tmp_path: Path) -> None:
    names = sorted({path.relative_to(ROOT).parts[0].removesuffix(".py") for path in package_files()} - {"__init__", "__main__"})
    code = f"import importlib.util as u; print([n for n in {names} if (s := u.find_spec(n)) and str(s.origin).startswith({str(ROOT)!r})])"
    assert run_outside(code, tmp_path) == "[]"
    banned = SETTINGS["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert {n for n in names if (ROOT / n).is_dir()} <= set(banned)


def test_importing_the_package_or_the_command_line_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, {}; print(sorted({{'torch', 'numpy', 'rasterio', 'faiss', 'cv2', 'h5py', 'pyproj'}} & set(sys.modules)))"
    assert run_outside(code.format("crossgeo"), tmp_path) == "[]"
    assert run_outside(code.format("crossgeo.cli"), tmp_path) == "[]"


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_weights_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    pages = [file for file in ROOT.glob("web/static/*") if file.is_file()]
    held_too = [*ROOT.glob("models/weights/*.safetensors"), *pages, ROOT / "py.typed"]
    for file in [*package_files(), *held_too, ROOT / "pyproject.toml", ROOT / "README.md"]:
        copy = source / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (source / "tests").mkdir()
    (source / "tests" / "test_nothing.py").write_text("")
    code = f"import setuptools.build_meta as b; b.build_wheel({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("crossgeo-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {f"crossgeo/{file.relative_to(ROOT).as_posix()}" for file in [*package_files(), *held_too]}


@pytest.mark.parametrize("file", package_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_opens_with_a_sentence_and_keeps_to_400_lines(file: Path) -> None:
    text = file.read_text()
    assert ast.get_docstring(ast.parse(text)), "open the file with one sentence on what it holds"
    assert text.count("\n") <= 400, "split it by noun"


@pytest.mark.parametrize("file", package_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_only_the_command_line_prints_or_reads_the_environment(file: Path) -> None:
    if file == ROOT / "cli.py" or file.parent == ROOT / "commands":
        return
    nodes = list(ast.walk(ast.parse(file.read_text())))
    # What other libraries go by may be set: they read it, not we.
    set_here = [node.value for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)]
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os" and node not in set_here:
            assert node.attr not in ("environ", "getenv", "environb"), f"line {node.lineno}"


def test_threads_hardly_spin_unless_the_user_says_how_they_wait() -> None:
    def spin(**said: str) -> list[str]:
        own = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        code = "import os, sys, crossgeo.cli as c; c.wait_briefly(); print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
        return subprocess.run([sys.executable, "-c", code], env=own | said, capture_output=True, text=True, check=True).stdout.split()

    assert spin() == ["1000", "False"]
    assert spin(GOMP_SPINCOUNT="7") == ["7", "False"]
    assert spin(OMP_WAIT_POLICY="active") == ["None", "False"]
