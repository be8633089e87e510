#!/usr/bin/env bash
# How many epochs and seconds the tuner takes to a target on Fashion-MNIST, against the same policy
# without inheritance and against searches of others; how often it names a defect that was planted.
#
#   ci/bench.sh tuning [SEEDS] [OPTION...]    default 3; options: tests/tuning/tuning_bench.py
#
# As many runs at a time as there are cores, a thread each: seconds are those of one core. Takes
# hours; what has run is kept in build/tuning, so one that was broken off goes on.
source "$(dirname "$0")/common.sh"

seeds=${1:-3}
[[ $seeds =~ ^[1-9][0-9]*$ ]] || die "found '$seeds', expected the number of seeds"
shift $(($# > 0))
install_packages build run test all
build "$root/build/release" -- tuning_run
venv=$root/build/venv-tuning
if ! "$venv/bin/python" -c 'import optuna' 2> /dev/null; then
  say "installing Optuna from PyPI into build/venv-tuning"
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet optuna==5.0.0
fi
say "epochs and seconds to a target, planted defects named, $seeds seeds"
"$venv/bin/python" "$root/tests/tuning/tuning_bench.py" "$root/build/release/bin/tuning_run" \
  --results "$root/build/tuning" --seeds "$seeds" --jobs "$(nproc)" "$@"
