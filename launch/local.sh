#!/usr/bin/env bash
# Sets up a virtual environment on first use, then trains: without arguments the main job, on data that needs no
# download. Arguments go to experiments.train. PYTHON names the interpreter, CS231N_VENV the environment's place.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

ensure_venv
announce "python -m experiments.train${*:+ $*}"
exec "$venv/bin/python" -P -m experiments.train "$@" # -P: the caller's directory may hold an `experiments` of its own
