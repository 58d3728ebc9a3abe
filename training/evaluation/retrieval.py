"""Ranks of right references, average precision and best references, streamed in blocks: no matrix of all questions by all references.

A tie is never a hit: a wrong reference stands before the right one unless its cosine is lower by more than `TIE`, so a model that
describes everything alike finds nothing. Blocks are scored in float32 and rows with anything near a threshold again in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import InputError

TIE = 1e-7  # of cosine: what float32 descriptors can tell apart
_NEAR = 3e-6  # of a threshold: more than float32 products of a thousand terms err
_ROWS, _COLUMNS = 256, 4096  # of a block: 4 MB of scores
_KEPT = 4  # best references that are compared in float64

Descriptors = NDArray[np.float32]
Ints = NDArray[np.int64]
AT = (1, 5, 10)


@dataclass(frozen=True)
class Matches:
    """Which references are right for each of Q questions; each has one at least."""

    starts: Ints  # (Q + 1,): those of question q are indices[starts[q]:starts[q + 1]]
    indices: Ints

    @classmethod
    def of(cls, right: Sequence[Sequence[int]]) -> Matches:
        """Take a list of references for each question; raise InputError for a question without any."""
        empty = next((number for number, found in enumerate(right) if len(found) == 0), None)
        if empty is not None:
            raise InputError(f"question {empty} has no right reference in the gallery; leave it out")
        starts = np.concatenate([[0], np.cumsum([len(found) for found in right])]).astype(np.int64)
        joined = [np.asarray(found, np.int64) for found in right]
        return cls(starts, np.concatenate(joined) if joined else np.zeros(0, np.int64))

    @classmethod
    def single(cls, right: NDArray[np.integer]) -> Matches:
        """Take the one right reference of each question, (Q,)."""
        return cls(np.arange(len(right) + 1, dtype=np.int64), np.asarray(right, np.int64))

    def __len__(self) -> int:
        """Return Q."""
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> Matches:
        """Return those of consecutive questions."""
        first, last, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("questions are taken in a row")
        starts = self.starts[first : max(first, last) + 1]
        return Matches(starts - starts[0], self.indices[starts[0] : starts[-1]])

    @property
    def questions(self) -> Ints:
        """Return the question of each of `indices`."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


def first_ranks(queries: Descriptors, references: Descriptors, matches: Matches) -> Ints:
    """Return (Q,) ranks, from 1, of the best right reference of each question.

    Queries are unit vectors (Q, D), or (Q, H, D) where H headings were tried and the best counts; references are unit vectors (N, D),
    in memory or mapped. Raises InputError for shapes that do not fit and for values that are no numbers.
    """
    queries = _checked(queries, references, matches)
    own = _own(queries, references, matches)
    best = np.maximum.reduceat(own, matches.starts[:-1]) if len(matches) else own
    return 1 + _ahead(queries, references, matches, best[:, None])[:, 0]


def average_precision(queries: Descriptors, references: Descriptors, matches: Matches) -> NDArray[np.float64]:
    """Return the (Q,) areas under precision over recall, by trapezia as University-1652's protocol has it; arguments as `first_ranks`."""
    queries = _checked(queries, references, matches)
    own, counts = _own(queries, references, matches), np.diff(matches.starts)
    order = np.lexsort((-own, matches.questions))  # of each question, best first
    table = np.full((len(matches), int(counts.max(initial=0))), np.inf)  # (Q, P), past the last right one never reached
    nth = np.arange(len(own)) - np.repeat(matches.starts[:-1], counts)
    table[matches.questions, nth] = own[order]
    wrong = _ahead(queries, references, matches, table)  # (Q, P): wrong ones before each right one
    hits = np.arange(1, table.shape[1] + 1)
    place = wrong + hits
    before = np.where(place > 1, (hits - 1) / np.maximum(place - 1, 1), 1.0)
    areas = 0.5 * (before + hits / place) * np.isfinite(table)
    return np.asarray(areas.sum(axis=1) / counts, np.float64)


@dataclass(frozen=True)
class Nearest:
    """The best reference of each of Q questions."""

    index: Ints
    heading: Ints  # which of the H descriptors found it
    score: NDArray[np.float64]
    tied: NDArray[np.bool_]  # whether another reference scores the same: then the answer is a guess


def nearest(queries: Descriptors, references: Descriptors) -> Nearest:
    """Return the best reference of each question and whether it stands alone; arguments as `first_ranks`."""
    queries = _checked(queries, references, None)
    parts: list[tuple[Ints, Ints, NDArray[np.float64], NDArray[np.bool_]]] = []
    for rows in _slices(len(queries), _rows(queries)):
        block = queries[rows]
        scores, ids = np.zeros((len(block), 0), np.float32), np.zeros((len(block), 0), np.int64)
        for columns in _slices(len(references), _COLUMNS):
            here = _scores(block, _numbers(references[columns]))  # (q, n)
            kept = min(_KEPT, here.shape[1])
            best = np.argpartition(-here, kept - 1, axis=1)[:, :kept]
            scores = np.concatenate([scores, np.take_along_axis(here, best, axis=1)], axis=1)
            ids = np.concatenate([ids, best + columns.start], axis=1)
            kept = min(_KEPT, scores.shape[1])
            best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
            scores, ids = np.take_along_axis(scores, best, axis=1), np.take_along_axis(ids, best, axis=1)
        parts.append(_settle(block, references, ids))
    index, heading, score, tied = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else (np.zeros(0),) * 4
    return Nearest(index.astype(np.int64), heading.astype(np.int64), score.astype(np.float64), tied.astype(np.bool_))


def recalls(ranks: Ints, references: int) -> dict[str, NDArray[np.bool_]]:
    """Return which questions are hits at 1, 5, 10 and 1 %: among the first `references // 100`, as published; left out below 100."""
    at = {str(k): ranks <= k for k in AT}
    return at | {"1%": ranks <= references // 100} if references >= 100 else at


def _settle(block: Descriptors, references: Descriptors, ids: Ints) -> tuple[Ints, Ints, NDArray[np.float64], NDArray[np.bool_]]:
    """Compare the few best references of each question in float64."""
    few = np.stack([_taken(references, column) for column in ids.T], axis=1).astype(np.float64)  # (q, k, D)
    exact = np.einsum("qhd,qkd->qkh", block.astype(np.float64), few)
    by_reference = exact.max(axis=2)  # (q, k)
    rows, best = np.arange(len(ids)), by_reference.argmax(axis=1)
    score = by_reference[rows, best]
    tied = (by_reference >= score[:, None] - TIE).sum(axis=1) > 1
    return ids[rows, best], exact[rows, best].argmax(axis=1), score, tied


def _own(queries: Descriptors, references: Descriptors, matches: Matches) -> NDArray[np.float64]:
    """Return the float64 score of each right reference, in the order of `matches.indices`."""
    out = np.empty(len(matches.indices))
    questions = matches.questions
    for part in _slices(len(out), max(1, _COLUMNS // queries.shape[1])):
        right = _taken(references, matches.indices[part]).astype(np.float64)  # (n, D)
        out[part] = np.einsum("nhd,nd->nh", queries[questions[part]].astype(np.float64), right).max(axis=1)
    return out


def _ahead(queries: Descriptors, references: Descriptors, matches: Matches, own: NDArray[np.float64]) -> Ints:
    """Count for (Q, P) scores the wrong references that stand before each."""
    counts = np.zeros(own.shape, np.int64)
    for rows in _slices(len(queries), _rows(queries)):
        block, limits, right = queries[rows], own[rows] - TIE, matches[rows]
        questions = right.questions
        for columns in _slices(len(references), _COLUMNS):
            some = _numbers(references[columns])
            here = (right.indices >= columns.start) & (right.indices < columns.stop)
            own_at = questions[here], right.indices[here] - columns.start
            scores = _scores(block, some)  # (q, n) float32
            scores[own_at] = -np.inf
            for number, limit in enumerate(limits.T):
                surely, perhaps = (_count(scores, limit + slack) for slack in (_NEAR, -_NEAR))
                counts[rows, number] += surely
                close = np.nonzero(surely != perhaps)[0]
                if len(close):
                    exact = _scores(block[close].astype(np.float64), some.astype(np.float64))
                    among = np.isin(own_at[0], close)
                    exact[np.searchsorted(close, own_at[0][among]), own_at[1][among]] = -np.inf
                    counts[rows.start + close, number] += _count(exact, limit[close]) - surely[close]
    return counts


def _count(scores: NDArray[np.floating], limits: NDArray[np.float64]) -> Ints:
    return np.asarray(np.count_nonzero(scores >= limits.astype(scores.dtype)[:, None], axis=1), np.int64)


def _scores(block: NDArray[np.floating], some: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return (q, n) products of (q, H, D) and (n, D), of the best heading each."""
    q, headings, width = block.shape
    products = block.reshape(q * headings, width) @ some.T
    return products if headings == 1 else products.reshape(q, headings, -1).max(axis=1)


def _checked(queries: Descriptors, references: Descriptors, matches: Matches | None) -> Descriptors:
    if queries.ndim == 2:
        queries = queries[:, None]
    if queries.ndim != 3 or len(references.shape) != 2 or queries.shape[2] != references.shape[1]:
        raise InputError(f"descriptors of {queries.shape} and {references.shape} do not go together")
    if matches is not None and len(matches) != len(queries):
        raise InputError(f"{len(queries)} questions came for {len(matches)} truths; they must go together")
    if matches is not None and len(matches.indices) and not 0 <= matches.indices.min() <= matches.indices.max() < references.shape[0]:
        raise InputError(f"a truth names a reference outside of the gallery of {references.shape[0]}")
    return _numbers(queries)


def _numbers(values: Descriptors) -> Descriptors:
    """Return the values; raise InputError where some are no numbers: they compare with nothing and would pass for hits."""
    if not np.isfinite(values).all():
        raise InputError("the model describes some pictures by values that are no numbers; take weights from before it broke")
    return values


def _taken(references: Descriptors, indices: Ints) -> Descriptors:
    return np.asarray(references[indices], np.float32)


def _rows(queries: Descriptors) -> int:
    return max(1, _ROWS // int(queries.shape[1]))


def _slices(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
