"""engine/runtime needs little: a machine that only runs models has none of what reads imagery and searches."""

from __future__ import annotations

import subprocess
import sys

BLOCKED = ("faiss", "h5py", "lmdb", "morecantile", "openvino", "pyproj", "rasterio", "shapely")
SCRIPT = f"""
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
import torch
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half, Slot
from crossgeo.engine.runtime.merged import Merging
for name in ("halves", "in_process", "onnxruntime", "tensorrt", "timing", "torch_compile"):
    importlib.import_module(f"crossgeo.engine.runtime.{{name}}")
half = Half("lone", torch.nn.Flatten(), (Slot("images", (3, 4, 4)),), ("rows",), ("lone", "0" * 64), "", lambda pictures: (), "maps")
with Merging() as merging:
    (runtime,) = runtimes([half], RuntimeOptions("torch", "fp32", merging=merging))
    assert runtime.run(np.ones((3, 3, 4, 4), np.float32)).sum() == 144
"""


def test_models_run_without_what_reads_imagery_and_searches() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
