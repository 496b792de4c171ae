#!/usr/bin/env bash
# Trains on all hosts of a Cloud TPU VM: copies the committed state of this repository there, sets it up, starts one
# process a host. Arguments after the zone go to experiments.train; the run directory has to be on a mounted bucket or
# another file system that the hosts share. Needs gcloud, logged in, with ssh access to the TPU.
#
#   ./launch/tpu_vm.sh [--dry-run] NAME ZONE --workdir=/mnt/bucket/runs/a --config=experiments/configs/wide_resnet.py:wrn28_10
set -euo pipefail
words="NAME ZONE"
source "$(dirname -- "${BASH_SOURCE[0]}")/cluster.sh"
name=$1 zone=$2
shift 2

run() {
  if [ -n "$dry" ]; then
    printf 'would run:'
    printf ' %q' "$@"
    printf '\n'
  else
    "$@"
  fi
}

on_all_hosts() {
  run gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1"
}

archive=${TMPDIR:-/tmp}/cs231n_jax.tar.gz
run git -C "$root" archive --format=tar.gz --output="$archive" HEAD
run gcloud compute tpus tpu-vm scp "$archive" "$name:cs231n_jax.tar.gz" --zone="$zone" --worker=all
on_all_hosts "mkdir -p cs231n_jax && tar -xzf cs231n_jax.tar.gz -C cs231n_jax && cd cs231n_jax && ./launch/test.sh --version && .venv/bin/python -m pip install --quiet \"jax[tpu]==\$(.venv/bin/python -c 'import jax; print(jax.__version__)')\""
arguments=
[ $# = 0 ] || arguments=$(printf ' %q' "$@")
on_all_hosts "cd cs231n_jax && .venv/bin/python launch/multihost.py experiments.train$arguments"
