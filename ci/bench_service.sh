#!/usr/bin/env bash
# How long people wait for the service on this machine, on Fashion-MNIST:
#   - from submit to the first step, from a worker's kill to the first step of the next attempt
#   - the share of training time that checkpoints cost
#
#   ci/bench.sh service [ROUNDS]    default 3; run it on an otherwise idle machine
source "$(dirname "$0")/common.sh"

rounds=${1:-3}
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "found '$rounds', expected the number of rounds"
install_packages build run test
build "$root/build/bench/service" -DTRAINYARD_TESTS=OFF
PATH=$root/build/bench/service/bin:$PATH

run=$(mktemp -d)
port=7800
while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done
export TRAINYARD_COORDINATOR=127.0.0.1:$port
trainyard up --state-dir "$run/state" --listen "$TRAINYARD_COORDINATOR" \
  --data-root /usr/share/datasets > "$run/coordinator.log" 2>&1 &
coordinator=$!
trap 'kill $coordinator 2> /dev/null; wait 2> /dev/null; rm -rf "$run"' EXIT
for _ in $(seq 100); do trainyard job list > /dev/null 2>&1 && break; sleep 0.1; done

cp -r "$root/examples/fashion-mnist" "$run/code"
now_ms() { date +%s%3N; }
submit() { trainyard submit "$run/code" --again --set tune.enabled=false "$@" --output json | jq -r .job; }
# wait_step JOB ATTEMPT: until that attempt (counted from 0) has taken a step beyond where it started.
wait_step() {
  until [ "$(trainyard job show "$1" --output json | jq "(.trials[0].attempts[$2] // {}) |
    ((.step // \"0\" | tonumber) > (.from_step // \"0\" | tonumber))")" = true ]; do sleep 0.02; done
}
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

say "submit and kill, medians of $rounds"
for _ in $(seq "$rounds"); do
  start=$(now_ms)
  job=$(submit --set train.epochs=3)
  wait_step "$job" 0
  echo $(($(now_ms) - start)) >> "$run/submit"
  pid=$(trainyard worker list --output json | jq -r '[.workers[] | select(.state == "BUSY")][0].pid')
  kill -KILL "$pid"
  start=$(now_ms)
  wait_step "$job" 1
  echo $(($(now_ms) - start)) >> "$run/kill"
  trainyard job cancel "$job" > /dev/null
done
echo "submit to first step seen: $(median < "$run/submit") ms"
echo "kill to first step of the next attempt seen: $(median < "$run/kill") ms"

say "checkpoints: every 20 steps against every epoch only, by turns, medians of $rounds"
for _ in $(seq "$rounds"); do
  for every in 0 20; do
    job=$(submit --set train.epochs=2 --set "checkpoint.every_steps=$every")
    trainyard wait "$job" > /dev/null 2>&1 || true
    trainyard job show "$job" --output json | jq '.trials[0].epochs[1].images_per_second' >> "$run/every$every"
  done
done
awk -v plain="$(median < "$run/every0")" -v often="$(median < "$run/every20")" 'BEGIN {
  printf "images/s: %.0f with a checkpoint each epoch, %.0f with one every 20 steps besides\n", plain, often
  printf "share of time spent on checkpoints every 20 steps: %.1f%%\n", 100 * (1 - often / plain) }'
