"""crossgeo: point at something in a photo, get its place on the map.

Ten names are what programs need; each is loaded when it is first used, so that `import crossgeo` is quick and loads no torch.

- `build_index`, `GeoSearch`, `run_batch` and `calibrate` do what `geo index build`, `geo query`, `geo batch` and `geo calibrate` do.
- `Answer`, `Place` and `FoundObject` are what comes out, `BatchItem` is what goes into a batch, `GeoIndex` is the imagery itself, and
  `GeoError` what went wrong.

All else is below `crossgeo.engine`, `crossgeo.indexer` and so on; docs/architecture.md is the map of it.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BatchItem",
    "FoundObject",
    "GeoError",
    "GeoIndex",
    "GeoSearch",
    "Place",
    "build_index",
    "calibrate",
    "run_batch",
]

if TYPE_CHECKING:
    from crossgeo.engine.batch import BatchItem, run_batch
    from crossgeo.engine.build import build_index
    from crossgeo.engine.place import Answer, FoundObject, Place
    from crossgeo.engine.search import GeoSearch
    from crossgeo.errors import GeoError
    from crossgeo.indexer.index import GeoIndex
    from crossgeo.training.calibration import calibrate
else:
    _HOMES = {
        "Answer": "engine.place",
        "BatchItem": "engine.batch",
        "FoundObject": "engine.place",
        "GeoError": "errors",
        "GeoIndex": "indexer.index",
        "GeoSearch": "engine.search",
        "Place": "engine.place",
        "build_index": "engine.build",
        "calibrate": "training.calibration",
        "run_batch": "engine.batch",
    }

    def __getattr__(name):
        """Load a name where it is first asked for (PEP 562); hidden from type checkers, which would take any name for known."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__():
        """List these names before they are loaded, too."""
        return sorted({*globals(), *__all__})
