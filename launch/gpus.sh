#!/usr/bin/env bash
# Trains on the GPUs of this machine, in one process that uses all of them, or those that GPUS names. Arguments go to
# experiments.train; a first --dry-run says what would be run. PYTHON and CS231N_VENV as in local.sh.
#
#   ./launch/gpus.sh --config=experiments/configs/cifar10_resnet.py:resnet56 --config.mesh.fsdp=1
#   GPUS=0,1 ./launch/gpus.sh --dry-run
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/venv.sh"

dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
[ -z "${GPUS:-}" ] || export CUDA_VISIBLE_DEVICES=$GPUS
if [ -n "$dry" ]; then
  printf 'would run: CUDA_VISIBLE_DEVICES=%s %q -P -m experiments.train' "${CUDA_VISIBLE_DEVICES:-all}" "$venv/bin/python"
  [ $# = 0 ] || printf ' %q' "$@"
  printf '\n'
  exit
fi

ensure_venv
found=$("$venv/bin/python" -c 'import jax; print(jax.default_backend(), jax.__version__)' 2>/dev/null) ||
  fail "jax does not start in $venv_name: see $venv_name/bin/python -c 'import jax; jax.devices()'"
case $found in
  gpu\ * | cuda\ * | rocm\ *) ;;
  *) fail "jax sees no GPU here (${found% *} only). With an NVIDIA driver: $venv_name/bin/python -m pip install 'jax[cuda12]==${found#* }'" ;;
esac
announce "python -m experiments.train${*:+ $*}"
exec "$venv/bin/python" -P -m experiments.train "$@"
