"""What every test shares: few threads, and the real imagery where a checkout has it."""

import os
from pathlib import Path

import pytest

# Read when the libraries load, so before any test imports torch, OpenCV or FAISS; children of a test inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


@pytest.fixture(scope="session")
def geo_data() -> Path:
    """Return the folder of real imagery, $GEO_DATA or ../shared/data beside the repository; without it skip, or fail in CI."""
    named = os.environ.get("GEO_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "SOURCES.md").is_file():
        reason = f"no real imagery at {folder}; set GEO_DATA to a folder that holds SOURCES.md"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
