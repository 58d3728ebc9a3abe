#!/usr/bin/env bash
# Everything that waits for a GPU: kernels against their peers, larger runs of the models and the ablations; results go to benchmarks/results,
# runs to runs/. With 8 minutes for each run it takes about an hour and a half; MINUTES and the lists below say how much of it is done.
# Nothing needs to be installed beside torch and triton for `kernels`. A part that fails does not keep the others from running; where
# $OUT names a folder, results are copied there after each part.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
python=${PYTHON:-python3}
export PYTHONPATH="$PWD/../.namespace${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
failed=""
minutes=${MINUTES:-8}
what=${*:-kernels engines query street drone ablations}
run() {
  "$@" || failed="$failed $part"
}
for part in $what; do
  touch .began
  case $part in
    kernels)
      (cd .. && TRITON_INTERPRET=0 $python -m pytest -q tests/kernels/triton) || failed="$failed $part"
      run $python gpu_kernels.py
      ;;
    engines)
      run $python engines.py --device cuda --rounds 30
      ;;
    query)
      run $python query.py --device cuda --photos 24
      ;;
    street)
      run $python train_street.py egotr --device cuda --workers 12 --minutes "$minutes" --start-from egotr-s-street --out ../runs/egotr-street-gpu
      run $python train_street.py attengeo --device cuda --workers 12 --minutes "$minutes" --start-from attengeo-s-street --out ../runs/attengeo-street-gpu
      ;;
    drone)
      run $python train_drone.py egotr --device cuda --workers 8 --minutes "$minutes" --out ../runs/egotr-gpu
      run $python train_drone.py attengeo --device cuda --workers 8 --minutes "$minutes" --out ../runs/attengeo-gpu
      ;;
    ablations)
      run $python street_ablations.py egotr --device cuda --steps 2000 --batches 1000 --work ../runs/street-ablations
      run $python street_ablations.py attengeo --device cuda --steps 4000 --batches 1000 --work ../runs/street-ablations
      run $python ablations.py egotr --device cuda --steps 400 --work ../runs/ablations
      run $python ablations.py attengeo --device cuda --steps 1500 --work ../runs/ablations
      ;;
    *)
      echo "gpu.sh: no part is called $part; there are kernels, engines, query, street, drone, ablations" >&2
      exit 2
      ;;
  esac
  [ -z "${OUT:-}" ] || find results -name '*.json' -newer .began -exec cp {} "$OUT" \;
done
rm -f .began
[ -z "$failed" ] || { echo "gpu.sh: failed:$failed" >&2; exit 1; }
