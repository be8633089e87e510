#!/usr/bin/env bash
# How long it takes from a killed worker to the next attempt's first step, where workers are containers of a
# Docker Engine and where they are jobs of a Slurm cluster; beside it what `docker run true` and
# `sbatch --wait true` take there. Starts an engine and a cluster of its own, as root.
#
#   ci/bench.sh workers    run it on an otherwise idle machine
source "$(dirname "$0")/common.sh"

install_packages build run test
build "$root/build/release"
export TRAINYARD_BUILD=$root/build/release TRAINYARD_BIN=$root/build/release/bin PYTHONPATH=$root/tests/faults
say "containers"
/usr/bin/python3 "$root/tests/containers/docker_pool_test.py" DockerPool.test_from_a_kill_to_the_next_step
say "Slurm jobs"
/usr/bin/python3 "$root/tests/cluster/slurm_pool_test.py" SlurmPool.test_from_a_kill_to_the_next_step
