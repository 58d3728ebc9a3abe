"""A program that gives numbers out to a cluster, for tests that break it: python cluster_driver.py WHERE FOLDER COUNT [JSON of more].

It prints an object for each outcome, then {"done": ...}; or {"error": ...}.
"""

import json
import sys
import time
from pathlib import Path

import cluster_jobs as jobs

from crossgeo.engine.cluster import Job, open_cluster
from crossgeo.errors import GeoError


def main() -> None:
    """Run the job."""
    where, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    more = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    size, least_s, gpus = more.pop("size", 1), more.pop("least_s", 30.0), more.pop("gpus", 0.0)
    rules = jobs.Rules(folder, **{name: frozenset(value) if isinstance(value, list) else value for name, value in more.items()})
    try:
        with open_cluster(where) as cluster:
            if rules.full_nodes == {"first"}:
                rules = jobs.Rules(folder, full=rules.full, full_nodes=frozenset({cluster.nodes()[0].label}))
            print(json.dumps({"label": cluster.label, "warnings": cluster.warnings}), flush=True)
            began = time.monotonic()
            job = Job("square", jobs.setup, jobs.squares, rules, halve=jobs.halve, least_s=least_s, gpus=gpus)
            for outcome in cluster.run(job, jobs.shards_of(count, size)):
                error = None if outcome.error is None else [type(outcome.error).__name__, str(outcome.error)]
                told = {"key": outcome.shard.key, "result": outcome.result, "error": error, "died": outcome.died, "node": outcome.node}
                print(json.dumps({**told, "at_s": time.monotonic() - began}), flush=True)
            print(json.dumps({"done": time.monotonic() - began}), flush=True)
    except GeoError as error:
        print(json.dumps({"error": [type(error).__name__, str(error)]}), flush=True)


if __name__ == "__main__":
    main()
