#!/bin/bash
# python -m experiments.benchmark.gpu on a machine that has JAX for its accelerator and no package index, in a checkout:
#     bash experiments/benchmark/gpu.sh WHEELS OUT [more flags]
# WHEELS: what python -m experiments.benchmark.gpu --pack WHEELS gathered. METARL_PYTHON: another python3.
set -e
[ $# -ge 2 ] || { echo "usage: bash experiments/benchmark/gpu.sh WHEELS OUT [more flags]" >&2; exit 2; }
wheels=$(realpath "$1"); out=$(realpath -m "$2")
python=${METARL_PYTHON:-python3}
[[ $python != */* || $python = /* ]] || python=$PWD/$python
cd "$(dirname "$0")/../.."
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$wheels"/*.whl
PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}" "$python" -m experiments.benchmark.gpu --out "$out" "${@:3}"
