#!/usr/bin/env bash
# Trains on Kubernetes: fills in launch/gke_jobset.yaml and applies it. Arguments after the image go to
# experiments.train; the run directory has to be on a volume that all pods mount. PODS (1) and GPUS (8) a pod.
#
#   PODS=4 ./launch/gke.sh [--dry-run] NAME IMAGE --workdir=/shared/runs/a
set -euo pipefail
root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

dry=
if [ "${1:-}" = --dry-run ]; then
  dry=1
  shift
fi
if [ $# -lt 2 ] || [[ $1 == -* || $2 == -* ]]; then
  echo "usage: launch/gke.sh [--dry-run] NAME IMAGE [arguments of experiments.train]" >&2
  exit 2
fi
name=$1 image=$2 pods=${PODS:-1} gpus=${GPUS:-8}
shift 2
[[ $name =~ ^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$ ]] || {
  echo "NAME=$name must be lower-case letters, digits and hyphens, as Kubernetes wants it" >&2
  exit 2
}
for number in "$pods" "$gpus"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || {
    echo "PODS=$pods and GPUS=$gpus must be whole numbers from 1" >&2
    exit 2
  }
done

arguments=
for word in "$@"; do # a JSON list is a YAML list
  word=${word//\\/\\\\}
  arguments+="${arguments:+, }\"${word//\"/\\\"}\""
done
manifest=$(<"$root/launch/gke_jobset.yaml")
manifest=${manifest//@NAME@/"$name"}
manifest=${manifest//@IMAGE@/"$image"}
manifest=${manifest//@PODS@/"$pods"}
manifest=${manifest//@GPUS@/"$gpus"}
manifest=${manifest//@ARGUMENTS@/"[$arguments]"}

if [ -n "$dry" ]; then
  printf 'would run: kubectl apply -f - with\n%s\n' "$manifest"
  exit
fi
printf '%s\n' "$manifest" | kubectl apply -f -
