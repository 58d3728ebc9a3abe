"""Batches: many photos through one search, resumable from a journal beside the output; a bad photo becomes an error row."""

from crossgeo.engine.batch.item import BatchItem
from crossgeo.engine.batch.journal import was_publishing
from crossgeo.engine.batch.pipeline import Stopped
from crossgeo.engine.batch.progress import BatchProgress, BatchReport
from crossgeo.engine.batch.run import Again, Answered, answers_of_others, run_batch
from crossgeo.engine.batch.sources import items_from_lines, items_of, photos_in
from crossgeo.engine.batch.spread import Spread
from crossgeo.engine.question import BatchOptions

__all__ = [
    "Again", "Answered", "BatchItem", "BatchOptions", "BatchProgress", "BatchReport", "Spread", "Stopped", "answers_of_others",
    "items_from_lines", "items_of", "photos_in", "run_batch", "was_publishing",
]  # fmt: skip
