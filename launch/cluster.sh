# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by gke.sh and tpu_vm.sh: takes a first --dry-run off the arguments and looks whether two words are left.

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
if [ $# -lt 2 ] || [[ $1 == -* || $2 == -* ]]; then
  echo "usage: launch/${0##*/} [--dry-run] $words [arguments of experiments.train]" >&2
  exit 2
fi
