"""Work given out to processes: of this machine, or of a Ray cluster, behind one interface; what uses it need not know which."""

from crossgeo.engine.cluster.cluster import Actor, Cluster, open_cluster
from crossgeo.engine.cluster.work import Job, Outcome, Shard, Tally

__all__ = ["Actor", "Cluster", "Job", "Outcome", "Shard", "Tally", "open_cluster"]
