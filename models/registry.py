"""Weights that can be had: those that came with the package, those that were imported or pulled, and those that lie on the web."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs

from crossgeo import disk
from crossgeo.errors import UsageError, WeightsError
from crossgeo.models import library
from crossgeo.models.checkpoint import load_weights, read_card, save_weights
from crossgeo.models.download import Progress, address_of, alone, fetch, waiting
from crossgeo.models.published.importing import AerialView, check_view, published

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

    Raises UsageError for a name that nobody knows, for one whose file no program can fetch, saying what to do by hand, for an address
    that is none or ends in no name for weights, and where something is told that weights with a card say themselves.
    """
    told: dict[str, Any] = {key: value for key, value in given.items() if value}
    known = {one.name: one for one in remotes()}
    if "://" in name_or_url:
        url = address_of(name_or_url)
        found = Remote(told.get("name") or _name_in(url), url, "", url=url)
    elif name_or_url in known:
        found = known[name_or_url]
    else:
        raise UsageError(f"no weights are called {name_or_url!r}; known elsewhere are: {', '.join(known)}; or give an address")
    found = replace(found, **told)
    if not found.origin and told.keys() & {"view", "licence"}:
        raise UsageError("weights with a card say all of that themselves; give --from for those of another program")
    if found.origin:
        check_view(name_or_url, found.origin, found.view)
    if not found.url:
        page = f"{name_or_url}: no program can fetch it; see its authors' page, {found.page}"
        raise UsageError(f"{page}, and bring in what they give with {_import_it(found, found.name)}")
    return found


def pull(
    remote: Remote, name: str, progress: Progress, *, offline: bool = False, overwrite: bool = False, get: Callable[..., str] | None = None
) -> Pulled:
    """Fetch weights, check them, bring them in under a name; what is here already is left as it is.

    What was fetched and did not come in waits in the downloads folder for the next call, which believes it only with the right SHA-256.
    Raises UsageError where what is to be known is not told, WeightsError where the file cannot be had, is another, or does not fit.
    """
    own = library.weights_folder() / f"{name}{library.SUFFIX}"
    if own.is_file() and not overwrite:
        return Pulled(name, own, read_card(own), True)
    given, (name, out) = name, library.place_for(name, overwrite=overwrite)
    came, sha256 = _place_of(remote.url), remote.sha256 or None
    if offline and waiting(remote.url, came, sha256) is None:
        hint = f"fetch {remote.url} elsewhere, then {_import_it(remote, given)}"
        raise WeightsError(f"{name} is not here, and --offline asks nobody; {hint}")
    with alone(came.parent, remote.url):  # until it is brought in, so that nobody takes it away before
        if not offline:
            try:
                (get or fetch)(remote.url, came, sha256, progress, anew=overwrite)
            except WeightsError as error:
                if "cannot be reached" not in str(error):
                    raise
                hint = f"fetch {remote.url} on another machine, then {_import_it(remote, given)} here"
                raise WeightsError(f"{error}; without a network, {hint}") from error
        card = _bring_in(remote, came, name, out)
        shutil.rmtree(came.parent, ignore_errors=True)
    return Pulled(name, out, card, False)


def _bring_in(remote: Remote, came: Path, name: str, out: Path) -> dict[str, Any]:
    with disk.guarded(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    if remote.origin:
        view: AerialView | None = "polar" if remote.view == "polar" else "plain" if remote.view == "plain" else None
        with published(came, remote.origin) as found:
            about = {"says": remote.says, "url": remote.url}
            return found.write(out, view=view, name=name, licence=remote.licence, about=about)
    return adopt(came, name, out)


def adopt(file: Path, name: str, out: Path) -> dict[str, Any]:
    """Write weights that have a card under a name of their own, once they are known to be whole; return the card.

    Raises WeightsError for a file that is damaged or has no card, and what `save_weights` does of the disk.
    """
    card, state = load_weights(file)
    with disk.guarded(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    card["name"] = name
    return {**card, "digest": save_weights(out, state, card, dtype=None)}


def downloads_folder() -> Path:
    """Return where downloads wait until they are whole and brought in."""
    return platformdirs.user_cache_path("crossgeo", appauthor=False) / "downloads"


def _place_of(url: str) -> Path:
    """Return where the file of an address waits: in a folder of that address alone, under its own name as far as disks take it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", _file_name(url))[-100:].lstrip(".")
    return downloads_folder() / hashlib.sha256(url.encode()).hexdigest()[:16] / (name or "file")


def _name_in(url: str) -> str:
    name = _file_name(url).partition(".")[0]
    try:
        library.place_for(name, overwrite=True)
    except UsageError as error:
        raise UsageError(f"{url}: {error}; give the name that they should get with --out") from error
    return name


def _file_name(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2]


def _import_it(remote: Remote, name: str) -> str:
    told = [f"--from {remote.origin}"] if remote.origin else []
    told += [f"--view {remote.view}"] if remote.view else []
    return f"`geo weights import FILE {' '.join([*told, f'--out {shlex.quote(name)}'])}`"
