#!/usr/bin/env bash
# The tests and benchmarks that need a CUDA GPU, in order of worth, each with a time limit of its own.
#
#   benchmarks/gpu.sh OUT [quick]             all within 8 minutes, or the first of it within 3
#   DEVICE=cpu benchmarks/gpu.sh OUT quick    tries the script itself, with small shapes
#
# The machine needs Python 3.11 or newer with PyTorch for CUDA, transformers, pytest and pytest-xdist, and no network.
# What else the engines need is taken from wheels in .wheels/, if there are any. Where there is a network, fetch them by
#   python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#     --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d .wheels \
#     pydantic pydantic_core annotated_types typing_inspection peft duckdb
# Logs, a JSON file for each part and influence.parquet go into OUT as they are made.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${1:?usage: benchmarks/gpu.sh OUT [quick]} MODE=${2:-whole} DEVICE=${DEVICE:-cuda} PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
site=$(mktemp -d)
if [ "$DEVICE" != cpu ] && compgen -G '.wheels/*.whl' >/dev/null; then
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .wheels/*.whl || exit 1
fi
export PYTHONPATH="$site:$PWD:$PWD/benchmarks" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 EINFLUENCE_CACHE="$site/cache"
small=() tests=(tests/cuda)
if "$PYTHON" -c "import xdist" 2>/dev/null; then tests+=(-n 6); fi
if [ "$DEVICE" = cpu ]; then
  small=(--device cpu --tiny --queries 16)
  export EINFLUENCE_TEST_DEVICE=cpu
fi
# limits of tests, ceilings, phi3 and guarded; with the seconds in which a step is killed they add up to the mode's
limits=(120 30 75 40) probes=64
if [ "$MODE" = quick ]; then
  limits=(60 20 50 30) probes=32
  tests+=(-k "(influence and (gpt2 or llama or digits)) or bits or bfloat16 or wait")
fi

# step NAME SECONDS COMMAND...: runs a command for at most so long, and shows the end of what it said.
step() {
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$OUT/$name.log" 2>&1
  echo "== $name: exit $? after $((SECONDS - begin)) of $limit s"
  tail -n 40 "$OUT/$name.log"
}

bench() { step "$1" "$2" "$PYTHON" benchmarks/bench_cuda.py "${small[@]}" --json "$OUT/$1.json" "${@:3}"; }

step tests "${limits[0]}" "$PYTHON" -m pytest -q "${tests[@]}" -p no:cacheprovider -o filterwarnings=default -W ignore --tb=short
bench ceilings "${limits[1]}" --only 'ceilings|precision'
bench phi3 "${limits[2]}" --only 'lora phi3' --probes "$probes" --profile
bench guarded "${limits[3]}" --only 'guarded phi3'
if [ "$MODE" = whole ]; then
  bench others 90 --only 'lora (qwen|llama)|full' --probes 48
  step study 95 "$PYTHON" benchmarks/study.py "$OUT"
fi
