#!/bin/bash
# Prints what the regression of a captured device does, as a page, or with
# --output=trace as a timeline for trace viewers. The argument is the capture's
# name, which may be left out if there is only one. //testing:passthrough.bzl
# makes a program of this for each test and fills in what is between @.
set -euo pipefail

readonly runner='@RUNNER@'
readonly kernel='@KERNEL@'
readonly name='@NAME@'
readonly fixtures=(@FIXTURES@)

output=html
wanted=""
for argument in "$@"; do
  case "${argument}" in
    --output=*) output="${argument#--output=}" ;;
    *) wanted="${argument}" ;;
  esac
done

for fixture in "${fixtures[@]}"; do
  if [[ $(basename "${fixture}" .textproto) == "${wanted}" ]] ||
    [[ -z ${wanted} && ${#fixtures[@]} == 1 ]]; then
    exec "${runner}" --fixture="${fixture}" --kernel="${kernel}" \
      --output="${output}"
  fi
done
echo "${name}: give one of these captures: $(
  for fixture in "${fixtures[@]}"; do basename "${fixture}" .textproto; done |
    tr '\n' ' '
)" >&2
exit 2
