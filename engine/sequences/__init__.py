"""Photos of one drive: answers that follow its way, and objects that several photos show."""

from crossgeo.engine.sequences.merge import MergeOptions, merge_objects
from crossgeo.engine.sequences.moved import Around, to_ask_again, with_objects
from crossgeo.engine.sequences.options import SequenceOptions
from crossgeo.engine.sequences.smooth import smooth

__all__ = ["Around", "MergeOptions", "SequenceOptions", "merge_objects", "smooth", "to_ask_again", "with_objects"]
