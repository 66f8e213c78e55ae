#!/bin/sh
# Both sides in one run: ours, and PyTorch with transformers on the same weights and tokens.
# PYTHON="path/to/python" uses an environment that has torch and transformers; else one is made.
# ROUNDS=7 repetitions; ONLY=regex picks workloads.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=${WORK:-$root/target/bench}
mkdir -p "$work"
if [ -z "${PYTHON:-}" ]; then
    [ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install --quiet torch transformers
    PYTHON=$work/venv/bin/python
fi
binary=${BINARY:-}
if [ -z "$binary" ]; then
    (cd "$root" && cargo build --quiet --release --package stepwell-engine --example bench_step)
    binary=$root/target/release/examples/bench_step
fi
rm -rf "$work/models"
mkdir -p "$work/models"
"$binary" export "$work/models"
# Words of PYTHON are a command line.
# shellcheck disable=SC2086
OMP_NUM_THREADS=2 exec $PYTHON "$root/bench/side_by_side.py" "$binary" "$work/models" "${ROUNDS:-7}"
