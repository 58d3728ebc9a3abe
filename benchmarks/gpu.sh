#!/usr/bin/env bash
# Everything that waits for a GPU: kernels against their peers, larger runs of the models and the ablations; results go to benchmarks/results,
# runs to runs/. With 8 minutes for each run it takes about an hour and a half; MINUTES and the lists below say how much of it is done.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python}
minutes=${MINUTES:-8}
what=${*:-kernels engines query street drone ablations}
for part in $what; do
  case $part in
    kernels)
      (cd .. && TRITON_INTERPRET=0 $python -m pytest -q tests/kernels/triton)
      $python gpu_kernels.py
      ;;
    engines)
      $python engines.py --device cuda --rounds 30
      ;;
    query)
      $python query.py --device cuda --photos 24
      ;;
    street)
      $python train_street.py egotr --device cuda --workers 12 --minutes "$minutes" --start-from egotr-s-street --out ../runs/egotr-street-gpu
      $python train_street.py attengeo --device cuda --workers 12 --minutes "$minutes" --start-from attengeo-s-street --out ../runs/attengeo-street-gpu
      ;;
    drone)
      $python train_drone.py egotr --device cuda --workers 8 --minutes "$minutes" --out ../runs/egotr-gpu
      $python train_drone.py attengeo --device cuda --workers 8 --minutes "$minutes" --out ../runs/attengeo-gpu
      ;;
    ablations)
      $python street_ablations.py egotr --device cuda --steps 2000 --batches 1000 --work ../runs/street-ablations
      $python street_ablations.py attengeo --device cuda --steps 4000 --batches 1000 --work ../runs/street-ablations
      $python ablations.py egotr --device cuda --steps 400 --work ../runs/ablations
      $python ablations.py attengeo --device cuda --steps 1500 --work ../runs/ablations
      ;;
    *)
      echo "gpu.sh: no part is called $part; there are kernels, engines, query, street, drone, ablations" >&2
      exit 2
      ;;
  esac
done
