#!/usr/bin/env bash
# Sets up a virtual environment on first use, then runs the tests: without arguments all but the slow ones and those
# for an accelerator, in two processes. Arguments go to pytest. PYTHON names the interpreter, CS231N_VENV the
# environment's place.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

ensure_venv
cd "$root"
[ $# -gt 0 ] || set -- -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"
announce "python -m pytest${*:+ $*}"
exec "$venv/bin/python" -m pytest "$@"
