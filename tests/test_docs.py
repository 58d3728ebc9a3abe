"""The pages for people hold together."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    there = [page.parent / link for link in links]  # a notebook's page is made when the site is built
    assert [link for link in there if not link.exists() and not link.with_suffix(".ipynb").exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    rooms = "models|engine|indexer|kernels|town|training|commands|docs|benchmarks"
    named = set(re.findall(rf"`((?:{rooms})/[\w/.]+\.(?:py|md))`", page.read_text()))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_readme_starts_with_the_two_commands_and_a_picture() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text and "make test" in text
    assert re.search(r"!\[[^\]]+\]\(docs/images/[\w-]+\.(?:jpg|png)\)", text)


def test_pictures_in_the_docs_are_small() -> None:
    assert all(file.stat().st_size < 600_000 for file in (ROOT / "docs").rglob("*") if file.suffix in (".png", ".jpg"))


def test_no_page_or_module_names_a_folder_of_somebodys_machine() -> None:
    files = [*PAGES, ROOT / "Makefile", ROOT / ".ci" / "run", *ROOT.glob("*.py"), *ROOT.glob("[a-z]*/*.py")]
    found = [file.relative_to(ROOT) for file in files if re.search(r"(?<![\w.])/(?:work|root|home)/", file.read_text())]
    assert found == []
