"""Weights that can be had: those that came with the package, those that were imported or pulled, and those that lie on the web."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs

from crossgeo.errors import UsageError, WeightsError
from crossgeo.models import library
from crossgeo.models.checkpoint import load_weights, read_card
from crossgeo.models.download import Progress, fetch
from crossgeo.models.published.importing import AerialView, published

_FILE = "registry.json"
Where = Literal["shipped", "imported", "remote"]


@dataclass(frozen=True)
class Remote:
    """Weights that somebody publishes: where, which file, what they are, under which licence.

    `url` is the file's address; where only a page for people leads to it, that is `page`. `sha256` may be its first digits, as some
    publishers put them into the name; empty where the server states it. `origin` is what `geo weights import` calls it, empty for ours.
    """

    name: str
    says: str
    licence: str
    origin: str = ""
    url: str = ""
    page: str = ""
    sha256: str = ""
    view: str = ""  # of imagery, where the file itself does not say
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One line of the registry."""

    name: str
    where: Where
    kind: str
    licence: str
    sha256: str
    size_bytes: int | None
    view: str
    metrics: dict[str, Any]
    url: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        values = asdict(self)
        return {**values, "bytes": values.pop("size_bytes")}


def remotes() -> list[Remote]:
    """Return what is known to be published elsewhere."""
    text = (resources.files("crossgeo.models.weights") / _FILE).read_text(encoding="utf-8")
    return [Remote(**values) for values in json.loads(text)]


def entries() -> list[Entry]:
    """Return all weights that are here, readable or not, and those elsewhere that are not here yet."""
    here = [_entry(name, "shipped") for name in library.shipped_weights()]
    here += [_entry(name, "imported") for name in library.imported_weights()]
    known = {entry.name for entry in here}
    return here + [
        Entry(one.name, "remote", one.origin or "crossgeo", one.licence, one.sha256, None, one.view, one.metrics, one.url or one.page)
        for one in remotes()
        if one.name not in known
    ]


def _entry(name: str, where: Where) -> Entry:
    path = library.find_weights(name)
    size = path.stat().st_size
    try:
        card = read_card(path)
    except WeightsError as error:
        return Entry(name, where, f"cannot be read: {error}", "", "", size, "", {})
    metrics = card.get("metrics")
    view = card["view"].get("kind", "drone") if isinstance(card["view"], dict) else ""
    if isinstance(card["view"], dict) and card["view"].get("polar"):
        view = f"polar {view}"
    return Entry(
        name, where, str(card["kind"]), str(card.get("licence", "")), str(card["digest"]), size, view,
        metrics if isinstance(metrics, dict) else {},
    )  # fmt: skip


@dataclass(frozen=True)
class Pulled:
    """Weights that were brought here."""

    name: str
    path: Path
    card: dict[str, Any]
    was_here: bool


def find_remote(name_or_url: str, **given: str) -> Remote:
    """Return the registry's entry, or one for an address with what is `given` of it; what is given wins over the registry.

    Raises UsageError for a name that nobody knows, and for one whose file no program can fetch, saying what to do by hand.
    """
    told: dict[str, Any] = {key: value for key, value in given.items() if value}
    if "://" in name_or_url:
        name = _file_name(name_or_url).partition(".")[0]
        return replace(Remote(name, name_or_url, "", url=name_or_url), **told)
    known = {one.name: one for one in remotes()}
    if name_or_url not in known:
        raise UsageError(f"no weights are called {name_or_url!r}; known elsewhere are: {', '.join(known)}; or give an address")
    found = replace(known[name_or_url], **told)
    if not found.url:
        page = f"{found.name}: no program can fetch it; see its authors' page, {found.page}"
        raise UsageError(f"{page}, and bring in what they give with {_import_it(found)}")
    return found


def pull(
    remote: Remote, name: str, progress: Progress, *, offline: bool = False, overwrite: bool = False,
    get: Callable[[str, Path, str | None, Progress], str] | None = None,
) -> Pulled:  # fmt: skip
    """Fetch weights, check them, bring them in under a name; what is here already is left as it is.

    Raises UsageError where what is to be known is not told, WeightsError where the file cannot be had, is another, or does not fit.
    """
    own = library.weights_folder() / f"{name}{library.SUFFIX}"
    if own.is_file() and not overwrite:
        return Pulled(name, own, read_card(own), True)
    name, out = library.place_for(name, overwrite=overwrite)
    came = downloads_folder() / _file_name(remote.url)
    if offline and not came.is_file():
        raise WeightsError(f"{name} is not here, and --offline asks nobody; fetch {remote.url} elsewhere, then {_import_it(remote)}")
    if not came.is_file():
        came.parent.mkdir(parents=True, exist_ok=True)
        try:
            (get or fetch)(remote.url, came, remote.sha256 or None, progress)
        except WeightsError as error:
            if "cannot be reached" not in str(error):
                raise
            raise WeightsError(
                f"{error}; without a network, fetch {remote.url} on another machine, then {_import_it(remote)} here"
            ) from error
    if remote.origin:
        view: AerialView | None = "polar" if remote.view == "polar" else "plain" if remote.view == "plain" else None
        with published(came, remote.origin) as found:
            about = {"says": remote.says, "url": remote.url}
            card = found.write(out, view=view, name=name, licence=remote.licence, about=about)
    else:
        card, _ = load_weights(came)
        out.parent.mkdir(parents=True, exist_ok=True)
        came.replace(out)
    came.unlink(missing_ok=True)
    return Pulled(name, out, card, False)


def downloads_folder() -> Path:
    """Return where downloads wait until they are whole and brought in."""
    return platformdirs.user_cache_path("crossgeo", appauthor=False) / "downloads"


def _file_name(url: str) -> str:
    return Path(urlsplit(url).path).name


def _import_it(remote: Remote) -> str:
    told = [f"--from {remote.origin}"] if remote.origin else []
    told += [f"--view {remote.view}"] if remote.view else []
    return f"`geo weights import FILE {' '.join([*told, f'--out {remote.name}'])}`"
