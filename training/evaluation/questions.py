"""A set as it is asked about: its pairs, its gallery, the protocols with their right answers, and how its photos are cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError
from crossgeo.models.views import Image
from crossgeo.training.datasets.pictures import WHOLE_PX, Pictures
from crossgeo.training.evaluation.controls import random_directions
from crossgeo.training.evaluation.protocols import Gallery, ProtocolName, Reference, matches_of
from crossgeo.training.evaluation.retrieval import Matches
from crossgeo.training.evaluation.shots import Shot, take_shot
from crossgeo.training.pairs import Pair, PairSet

Progress = Callable[[str, int, int], None]  # stage, done, total
CHUNK = 16  # pictures in memory at a time


@dataclass(frozen=True)
class Questions:
    """A set as it is asked about: its pairs, the gallery, the protocols with their right answers, and where photos are cut."""

    pairs: PairSet
    gallery: Gallery
    matches: dict[ProtocolName, Matches]
    seed: int = 0  # of the directions in which panoramas are cut, and of headings that are shifted
    headings: int = 24  # around the circle, where the heading is unknown

    @classmethod
    def of(cls, pairs: PairSet, protocols: Sequence[ProtocolName], seed: int = 0, headings: int = 24) -> Questions:
        """Put the questions together.

        Raises InputError for an empty set or a picture that is missing, naming the first; MismatchError for a protocol of other sets.
        """
        gallery = Gallery.of(pairs)
        _check_files(pairs, gallery)
        return cls(pairs, gallery, {name: matches_of(name, pairs, gallery) for name in protocols}, seed, headings)

    def shots(self, rows: Sequence[int], fov_deg: float, pictures: Pictures) -> list[Shot]:
        """Read photos and cut them; panoramas in directions that depend on the seed and the row alone."""
        towards = random_directions(len(self.pairs), self.seed)
        pairs = [(self.pairs.pairs[row], float(towards[row])) for row in rows]
        return [
            take_shot(pictures.photo(pair), pair.fov_deg, fov_deg, towards_deg, pair.horizon, pair.tilt_deg) for pair, towards_deg in pairs
        ]

    def rows_of(self, truths: Sequence[Pair]) -> list[int]:
        """Return the rows of some of the set's pairs."""
        if truths is self.pairs.pairs:
            return list(range(len(self.pairs)))
        numbers = {pair: row for row, pair in enumerate(self.pairs)}
        return [numbers[pair] for pair in truths]


def aerials(references: Sequence[Reference], progress: Progress) -> Iterator[tuple[list[Image], list[float | None]]]:
    """Yield the pictures of a gallery, some at a time, with their metres a pixel."""
    with Pictures() as pictures:
        for start in range(0, len(references), CHUNK):
            progress("describing aerial pictures", start, len(references))
            some = references[start : start + CHUNK]
            read = [Photo.read(one.path, long_px=WHOLE_PX).pixels if one.pair is None else pictures.aerial(one.pair) for one in some]
            yield read, [one.gsd_m for one in some]
    progress("describing aerial pictures", len(references), len(references))


def _check_files(pairs: PairSet, gallery: Gallery) -> None:
    wanted = [pair.photo for pair in pairs] + [reference.path for reference in gallery.references]
    missing = [path for path in wanted if not path.exists()]
    if missing:
        more = f", nor are {len(missing) - 1} others of {pairs.name}" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]} is not there{more}; get the set again, or check it with `geo data check`")
