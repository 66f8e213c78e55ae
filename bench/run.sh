#!/bin/sh
# Every comparison of docs/PERFORMANCE.md in one command: same weights, same tokens, sides in turn.
#
#   bench/run.sh [REGEX]       comparisons whose name matches; all of them without one
#
# PYTHON="path/to/python"     an environment with torch, transformers, trl, xllamacpp and gguf; else
#                             one is made under WORK
# BINARY=path                 a built `bench_step`; else it is built
# ROUNDS=7                    repetitions, at least 5
# OMP_WAIT_POLICY=PASSIVE     on a shared machine: else PyTorch's waiting threads spin, and its CPU
#                             time grows with the load; on a quiet one leave it unset
# COMPILE=1                   also PyTorch under torch.compile: minutes more a comparison
# WORK=target/bench           models, data, logs, results.json
# PAGE=docs/PERFORMANCE.md    where the page is written, its plots beside it
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=${WORK:-$root/target/bench}
mkdir -p "$work/models"
if [ -z "${PYTHON:-}" ]; then
    [ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install --quiet torch transformers trl xllamacpp gguf
    PYTHON=$work/venv/bin/python
fi
binary=${BINARY:-}
if [ -z "$binary" ]; then
    target=${CARGO_TARGET_DIR:-$root/target}
    (cd "$root" && cargo build --quiet --release --package stepwell-engine --example bench_step)
    binary=$target/release/examples/bench_step
fi
rm -rf "$work/models"
mkdir -p "$work/models"
"$binary" export "$work/models"
status=0
# Words of PYTHON are a command line.
# shellcheck disable=SC2086
$PYTHON "$root/bench/run.py" "$binary" "$work/models" "$work/results.json" "${1:-}" \
    "${ROUNDS:-7}" || status=$?
# shellcheck disable=SC2086
$PYTHON "$root/bench/report.py" "$work/results.json" "$root/bench/page.md" \
    "${PAGE:-$root/docs/PERFORMANCE.md}"
exit "$status"
