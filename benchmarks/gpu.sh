#!/usr/bin/env bash
# Everything that waits for a GPU, measured: ./gpu.sh [PART ...]. Results go to benchmarks/results, and to $OUT where that names a folder.
#
#   h100     what an H100 must show, row by row, with its peers                      torch, triton, platformdirs
#   tests    the kernels against float64 on the card itself                         pytest, too
#   kernels  each kernel against its peers                                          (FAISS's flat index where faiss-cuda is there)
#   engines  the runtimes beside each other, from arrays to arrays
#   build    a town indexed, against describing it alone                             all that crossgeo needs
#   query    whole questions over a million rows                                     all that crossgeo needs
#
# Records are written after every case, and what they hold of the same commit on the same machine is not measured again: where MINUTES
# (of the whole call; 55) end, the same command goes on. Bring benchmarks/results along, and where the history does not come along, the commit:
#   COMMIT=$(git rev-parse HEAD) ./gpu.sh
# A machine that reaches no package index gets its packages from a folder: ./gpu_wheels.sh FOLDER where there is one, then WHEELS=FOLDER there.
# A part that fails does not keep the others from running. gpu_train.sh trains.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
python=${PYTHON:-python3}
if [ -n "${WHEELS:-}" ]; then
  site=${TMPDIR:-/tmp}/crossgeo-wheels
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$WHEELS"/*.whl || exit 1
  export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD/../.namespace${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
"$python" - <<'END' || exit 2
import sys
try:
    import torch
except ImportError as error:
    sys.exit(f"gpu.sh: {error}; PYTHON names another interpreter, and ../docs/howto/gpu.md says what is to be installed")
if not torch.cuda.is_available():
    sys.exit(f"gpu.sh: torch {torch.__version__} finds no GPU here, and all parts need one; see: geo doctor")
END
ends=$((SECONDS + 60 * ${MINUTES:-55}))
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=""

left_s() { echo $((ends > SECONDS + 1 ? ends - SECONDS : 1)); }
run() { # what runs past the end is stopped: its cases are recorded one by one
  timeout --kill-after=10 "$(left_s)" "$@" || failed="$failed $part"
}
again() { # as run, in another process where one lost the card: what it measured is recorded
  for _ in 1 2 3 4; do
    timeout --kill-after=10 "$(left_s)" "$@" --minutes "$(minutes)" && return
    [ $? -eq 75 ] || break
  done
  failed="$failed $part"
}
minutes() { # after which no case is begun, so that the last one ends in time
  echo $(($(left_s) > 90 ? ($(left_s) - 60) / 60 : 0))
}

for part in ${*:-h100 tests kernels engines build query}; do
  echo "--- $part, $(left_s) s left"
  touch "$work/began"
  case $part in
    h100) again "$python" h100.py ;;
    tests) (cd .. && TRITON_INTERPRET=0 timeout "$(left_s)" "$python" -m pytest -q -p no:cacheprovider -k "not compil" tests/kernels/triton) || failed="$failed $part" ;;
    kernels) again "$python" gpu_kernels.py ;;
    engines) run "$python" engines.py --device cuda --rounds 20 --minutes "$(minutes)" ;;
    build)
      "$python" -c 'from crossgeo.cli import main; main()' town make --seed 9100 --size-m 400 --photos 1 --out "$work/town" &&
        run "$python" build.py --device cuda --imagery "$work/town/ortho.tif" --work "$work" || failed="$failed $part"
      ;;
    query) run "$python" query.py --device cuda --size-m 620 --stride-m 0.6 --photos 12 --only torch torch-compile --work "$work" ;;
    *)
      echo "gpu.sh: no part is called $part; there are h100, tests, kernels, engines, build, query" >&2
      exit 2
      ;;
  esac
  [ -z "${OUT:-}" ] || find results -name '*.json' -newer "$work/began" -exec cp {} "$OUT" \;
done
[ -z "$failed" ] || { echo "gpu.sh: failed or cut off:$failed" >&2; exit 1; }
