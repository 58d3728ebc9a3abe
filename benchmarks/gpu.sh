#!/usr/bin/env bash
# Everything that waits for a GPU: larger runs of both models and the ablations; results go to benchmarks/results, runs to runs/.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python}
minutes=${MINUTES:-8}
$python train_drone.py egotr --device cuda --workers 8 --minutes "$minutes" --out ../runs/egotr-gpu
$python train_drone.py attengeo --device cuda --workers 8 --minutes "$minutes" --out ../runs/attengeo-gpu
$python ablations.py egotr --device cuda --steps 400 --work ../runs/ablations
$python ablations.py attengeo --device cuda --steps 1500 --work ../runs/ablations
