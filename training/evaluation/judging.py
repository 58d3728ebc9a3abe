"""Answers of descriptors alone: every photo against the whole gallery, under a field of view, its heading given or tried all around."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from crossgeo.errors import MismatchError
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.evaluation.controls import random_turns
from crossgeo.training.evaluation.describing import PairModel
from crossgeo.training.evaluation.histograms import LEARNED, LEAST_PAIRS, PLAIN, Features, Histograms, features, features_of
from crossgeo.training.evaluation.places import Answered, turned_deg
from crossgeo.training.evaluation.protocols import asked_back, offsets_m
from crossgeo.training.evaluation.questions import CHUNK, Progress, Questions, aerials
from crossgeo.training.evaluation.retrieval import Descriptors, Matches, average_precision, first_ranks, nearest
from crossgeo.training.pairs import Pair, PairSet

MOST_PAIRS = 2000  # that histograms are learned from


@dataclass(frozen=True)
class Described:
    """Some questions, described so that they compare with the references."""

    rows: list[int]
    photos: Descriptors  # (B, H, D)
    references: Descriptors  # (N, D)
    tried_deg: list[list[float]]  # the H true headings at which the middle of each shot was tried
    middle_deg: list[float | None]  # its true heading; None where the set does not say


class Judge(Protocol):
    """Something that describes a set's photos and aerial pictures."""

    def asked(self, rows: Sequence[int], fov_deg: float, heading_known: bool) -> Iterator[Described]:
        """Describe some rows at a time."""
        ...


@dataclass(frozen=True)
class DescriptorAnswers:
    """Fills cells (`places.Answers`) with a judge's nearest references; ties count as no place."""

    questions: Questions
    judge: Judge

    def __call__(self, truths: Sequence[Pair], fov_deg: float, heading_known: bool) -> list[Answered]:
        """Answer each of the set's pairs that is asked about."""
        out: list[Answered] = []
        protocols = {name: right for name, right in self.questions.matches.items() if name != "place-back"}
        for found in self.judge.asked(self.questions.rows_of(truths), fov_deg, heading_known):
            right = {name: _rows(every, found.rows) for name, every in protocols.items()}
            ranks = {name: first_ranks(found.photos, found.references, own) for name, own in right.items()}
            areas = {name: average_precision(found.photos, found.references, own) for name, own in right.items() if name == "place"}
            best = nearest(found.photos, found.references)
            pairs = [self.questions.pairs.pairs[row] for row in found.rows]
            metres = offsets_m(pairs, [self.questions.gallery.references[number] for number in best.index.tolist()])
            for k, pair in enumerate(pairs):
                lost = bool(best.tied[k]) or not np.isfinite(metres[k])
                tried, middle, error = found.tried_deg[k], found.middle_deg[k], None
                if len(tried) > 1 and middle is not None:
                    error = turned_deg(tried[int(best.heading[k])], middle)
                own_ranks: dict[str, int] = {name: int(values[k]) for name, values in ranks.items()}
                own_areas: dict[str, float] = {name: float(values[k]) for name, values in areas.items()}
                out.append(Answered(pair.id, None if lost else float(metres[k]), error, own_ranks, own_areas))
        return out

    def back(self) -> list[Answered]:
        """Answer the aerial pictures that have photos, with photos as their gallery (University-1652, satellite to drone)."""
        right, asked = self.questions.matches["place-back"], asked_back(self.questions.gallery)
        found = list(self.judge.asked(range(len(self.questions.pairs)), 360.0, True))
        photos, queries = np.concatenate([part.photos[:, 0] for part in found]), found[0].references[asked]
        ranks, areas = first_ranks(queries, photos, right), average_precision(queries, photos, right)
        names = [self.questions.gallery.references[number].id for number in asked]
        return [
            Answered(name, ranks={"place-back": int(rank)}, precision={"place-back": float(area)})
            for name, rank, area in zip(names, ranks, areas, strict=True)
        ]


@dataclass(frozen=True)
class ModelJudge:
    """A network; where `shifted`, every heading that is given is shifted at random, which is a control."""

    questions: Questions
    model: PairModel
    references: Descriptors
    progress: Progress
    shifted: bool = False

    @classmethod
    def of(cls, questions: Questions, model: PairModel, progress: Progress) -> ModelJudge:
        """Describe the gallery; raise MismatchError where the weights do not fit the set."""
        model.check_fits(questions.pairs)
        rows = [model.tiles(pictures, gsds) for pictures, gsds in aerials(questions.gallery.references, progress)]
        return cls(questions, model, np.concatenate(rows), progress)

    def with_shifted_headings(self) -> ModelJudge:
        """Return the control: the same network, told wrong headings."""
        return replace(self, shifted=True)

    def asked(self, rows: Sequence[int], fov_deg: float, heading_known: bool) -> Iterator[Described]:
        """Describe some photos at a time; see `Judge`."""
        with Pictures() as pictures:
            for start in range(0, len(rows), CHUNK):
                self.progress("describing photos", start, len(rows))
                some = list(rows[start : start + CHUNK])
                shots = self.questions.shots(some, fov_deg, pictures)
                pairs = [self.questions.pairs.pairs[row] for row in some]
                middles = [
                    None if pair.heading_deg is None else pair.heading_deg + shot.turned_deg
                    for pair, shot in zip(pairs, shots, strict=True)
                ]
                tried = [self._headings(row, pair, middle, heading_known) for row, pair, middle in zip(some, pairs, middles, strict=True)]
                against_grid = [[heading - pair.convergence_deg for heading in own] for pair, own in zip(pairs, tried, strict=True)]
                yield Described(some, self.model.photos(shots, against_grid), self.references, tried, middles)
        self.progress("describing photos", len(rows), len(rows))

    def _headings(self, row: int, pair: Pair, middle_deg: float | None, heading_known: bool) -> list[float]:
        """Return the true headings at which a shot's middle is tried."""
        if self.model.kind == "drone":
            return [0.0]  # such sets know no headings
        if not heading_known:
            return [360.0 * k / self.questions.headings for k in range(self.questions.headings)]
        if middle_deg is None:
            raise MismatchError(f"{pair.photo} has no heading, so it cannot be asked about with one; ask with `--heading unknown`")
        turn_deg = random_turns(len(self.questions.pairs), self.questions.seed)[row] if self.shifted else 0.0
        return [middle_deg + float(turn_deg)]


@dataclass(frozen=True)
class HistogramJudge:
    """The baseline of colours and materials, which knows no headings."""

    questions: Questions
    aerial_features: Features  # (N, F)
    learn_from: tuple[Features, Features] | None  # (n, F) of photos and of aerial pictures of training pairs
    progress: Progress

    @classmethod
    def of(cls, questions: Questions, training: PairSet | None, progress: Progress) -> HistogramJudge:
        """Take features of the gallery and of training pairs, where there are enough to learn from."""
        rows = [features_of(pictures) for pictures, _ in aerials(questions.gallery.references, progress)]
        learned = training_features(training, MOST_PAIRS, progress) if training is not None and len(training) >= LEAST_PAIRS else None
        return cls(questions, np.concatenate(rows), learned, progress)

    @property
    def says(self) -> str:
        """Name what is done."""
        return PLAIN if self.learn_from is None else LEARNED.format(count=len(self.learn_from[0]))

    def asked(self, rows: Sequence[int], fov_deg: float, heading_known: bool) -> Iterator[Described]:
        """Describe all photos at once; see `Judge`."""
        found: list[Features] = []
        with Pictures() as pictures:
            for start in range(0, len(rows), CHUNK):
                self.progress("taking histograms", start, len(rows))
                found.append(features_of([shot.pixels for shot in self.questions.shots(rows[start : start + CHUNK], fov_deg, pictures)]))
        photos = np.concatenate(found)
        maps = Histograms.plain(photos, self.aerial_features) if self.learn_from is None else Histograms.learn(*self.learn_from)
        self.progress("taking histograms", len(rows), len(rows))
        nothing: list[None] = [None] * len(rows)
        yield Described(list(rows), maps.photos(photos)[:, None], maps.aerials(self.aerial_features), [[0.0]] * len(rows), [*nothing])


def training_features(pairs: PairSet, most: int, progress: Progress) -> tuple[Features, Features]:
    """Return (n, F) features of whole photos and of aerial pictures of at most `most` pairs, evenly over a set."""
    chosen = pairs.pairs[:: max(1, len(pairs) // most)][:most]
    photos, below = [], []
    with Pictures() as pictures:
        for number, pair in enumerate(chosen):
            progress("learning histograms", number, len(chosen))
            photos.append(features(pictures.photo(pair)))
            below.append(features(pictures.aerial(pair)))
    progress("learning histograms", len(chosen), len(chosen))
    return np.stack(photos), np.stack(below)


def _rows(matches: Matches, rows: Sequence[int]) -> Matches:
    first = rows[0]
    if list(rows) == list(range(first, first + len(rows))):
        return matches[first : first + len(rows)]
    return Matches.of([matches.indices[matches.starts[row] : matches.starts[row + 1]].tolist() for row in rows])
