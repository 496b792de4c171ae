#!/usr/bin/env bash
# Trains on Kubernetes: fills in launch/gke_jobset.yaml and applies it. Arguments after the image go to
# experiments.train. CLAIM names a persistent volume claim that many pods may write to: it is mounted at /runs, where the
# run directory has to be. PODS (1) and GPUS (8) a pod.
#
#   CLAIM=runs PODS=4 ./launch/gke.sh [--dry-run] NAME IMAGE --workdir=/runs/a
set -euo pipefail
words="NAME IMAGE"
source "$(dirname -- "${BASH_SOURCE[0]}")/cluster.sh"
name=$1 image=$2 claim=${CLAIM:-} pods=${PODS:-1} gpus=${GPUS:-8}
shift 2
for word in "$name" "$claim"; do
  [[ $word =~ ^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$ ]] || {
    echo "NAME=$name and CLAIM=$claim must be lower-case letters, digits and hyphens, as Kubernetes wants them" >&2
    exit 2
  }
done
[[ $image =~ ^[A-Za-z0-9][A-Za-z0-9._/:@-]*$ ]] || {
  echo "IMAGE=$image is no name of an image, such as registry/project/image:tag" >&2
  exit 2
}
case "$*" in *$'\n'*)
  echo "an argument has more than one line: give single lines" >&2
  exit 2
  ;;
esac
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
manifest=${manifest//@CLAIM@/"$claim"}
manifest=${manifest//@PODS@/"$pods"}
manifest=${manifest//@GPUS@/"$gpus"}
manifest=${manifest//@ARGUMENTS@/"[$arguments]"}

if [ -n "$dry" ]; then
  printf 'would run: kubectl apply -f - with\n%s\n' "$manifest"
  exit
fi
printf '%s\n' "$manifest" | kubectl apply -f -
