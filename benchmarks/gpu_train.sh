#!/usr/bin/env bash
# Larger runs of the models and the ablations, which wait for a GPU and for the imagery that ../shared/data/SOURCES.md names:
# ./gpu_train.sh [street] [drone] [ablations]. With MINUTES=8 for each run it takes about an hour; results go to benchmarks/results, runs
# to runs/. A part that fails does not keep the others from running.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
python=${PYTHON:-python3}
export PYTHONPATH="$PWD/../.namespace${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
failed=""
minutes=${MINUTES:-8}
run() {
  "$@" || failed="$failed $part"
}
for part in ${*:-street drone ablations}; do
  case $part in
    street)
      run "$python" train_street.py egotr --device cuda --workers 12 --minutes "$minutes" --start-from egotr-s-street --out ../runs/egotr-street-gpu
      run "$python" train_street.py attengeo --device cuda --workers 12 --minutes "$minutes" --start-from attengeo-s-street --out ../runs/attengeo-street-gpu
      ;;
    drone)
      run "$python" train_drone.py egotr --device cuda --workers 8 --minutes "$minutes" --out ../runs/egotr-gpu
      run "$python" train_drone.py attengeo --device cuda --workers 8 --minutes "$minutes" --out ../runs/attengeo-gpu
      ;;
    ablations)
      run "$python" street_ablations.py egotr --device cuda --steps 2000 --batches 1000 --work ../runs/street-ablations
      run "$python" street_ablations.py attengeo --device cuda --steps 4000 --batches 1000 --work ../runs/street-ablations
      run "$python" ablations.py egotr --device cuda --steps 400 --work ../runs/ablations
      run "$python" ablations.py attengeo --device cuda --steps 1500 --work ../runs/ablations
      ;;
    *)
      echo "gpu_train.sh: no part is called $part; there are street, drone, ablations" >&2
      exit 2
      ;;
  esac
done
[ -z "$failed" ] || { echo "gpu_train.sh: failed:$failed" >&2; exit 1; }
