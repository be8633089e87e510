#!/usr/bin/env bash
# How many epochs and seconds the tuner takes to a target, against the same tweaks without inheritance and against
# searches of others; and how often it names a defect that was planted. On Fashion-MNIST, as many
# runs at a time as there are cores, a thread each, so that seconds are those of a core.
#
#   ci/bench_tuning.sh [BUILD] [SEEDS] [OPTION...]    default: build/release, 3; options of tests/tuning/tuning_bench.py
#
# Takes hours. What has run is kept in BUILD/tuning, so that a run that was broken off goes on.
source "$(dirname "$0")/common.sh"

folder=${1:-$root/build/release}
seeds=${2:-3}
shift $(($# < 2 ? $# : 2))
[[ $seeds =~ ^[1-9][0-9]*$ ]] || die "found '$seeds', expected the number of seeds"
driver=$folder/bin/tuning_run
[ -x "$driver" ] || die "no $driver; build the target tuning_run first"

venv=$root/build/venv-tuning
if ! "$venv/bin/python" -c 'import optuna' 2> /dev/null; then
  say "installing Optuna from PyPI into ${venv#"$root"/}" >&2
  install_packages all
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet optuna==5.0.0
fi
"$venv/bin/python" "$root/tests/tuning/tuning_bench.py" "$driver" --results "$folder/tuning" \
  --seeds "$seeds" --jobs "$(nproc)" "$@"
