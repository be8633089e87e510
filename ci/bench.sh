#!/usr/bin/env bash
# Trainyard's speed on this machine, which is to be otherwise idle; docs/benchmarks.md says what came of it.
#
#   ci/bench.sh cpu [ROUNDS] [OPTION...]       the engine by turns with PyTorch and Keras (5)
#   ci/bench.sh accuracy [SEEDS] [OPTION...]   the accuracy that the engine and PyTorch reach by the same recipes (5)
#   ci/bench.sh table                          what these two saw, as Markdown
#   ci/bench.sh service [ROUNDS]               from submit or a worker's death to the first step, checkpoints' cost (3)
#   ci/bench.sh workers                        the same where workers are containers or Slurm jobs
#   ci/bench.sh tuning [SEEDS] [OPTION...]     epochs and seconds of the tuner to a target (3; hours)
#
# Options: ci/bench/cpu_bench.py, tests/tuning/tuning_bench.py.
source "$(dirname "$0")/common.sh"

case ${1:-} in
  cpu | accuracy | table) exec "$root/ci/bench_cpu.sh" "$@" ;;
  service | workers | tuning) exec "$root/ci/bench_$1.sh" "${@:2}" ;;
  *) die "found '${1:-}', expected cpu, accuracy, table, service, workers or tuning" ;;
esac
