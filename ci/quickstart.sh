#!/usr/bin/env bash
# Trainyard's main job on Fashion-MNIST, on this machine, from a bare Debian 12: a push becomes a job, a
# worker is killed on the way and continued, the network grows until the target is met, the best model is
# exported. Nothing is scripted but the kill.
#
#   ci/quickstart.sh          takes a few minutes after the build
#   ci/quickstart.sh --keep   leaves the coordinator running, to play on
source "$(dirname "$0")/common.sh"

keep=false
case ${1:-} in
  "") ;;
  --keep) keep=true ;;
  *) die "unknown argument '$1': expected --keep" ;;
esac

install_packages build run
build "$root/build/quickstart" -DTRAINYARD_TESTS=OFF -- trainyard trainyard-coordinator trainyard-worker
PATH=$root/build/quickstart/bin:$PATH

run=$root/build/quickstart/run
if [ -e "$run/coordinator.pid" ] && kill -0 "$(cat "$run/coordinator.pid")" 2> /dev/null; then
  die "a quick start of before still runs: stop it with 'kill $(cat "$run/coordinator.pid")'"
fi
rm -rf "$run"
mkdir -p "$run"

port=7700
while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do port=$((port + 1)); done
export TRAINYARD_COORDINATOR=127.0.0.1:$port

stop_all() {
  local status=$?
  [ -z "${watcher:-}" ] || kill "$watcher" 2> /dev/null || true
  if ! $keep || [ "$status" -ne 0 ]; then
    kill "$(cat "$run/coordinator.pid")" 2> /dev/null || true
    wait 2> /dev/null || true
  fi
  [ "$status" -eq 0 ] || tail -20 "$run/coordinator.log" >&2
}
trap stop_all EXIT
trap 'exit 130' INT TERM

say "trainyard up: a coordinator and a local worker at $TRAINYARD_COORDINATOR"
setsid trainyard up --state-dir "$run/state" --listen "$TRAINYARD_COORDINATOR" --poll-ms 500 \
  --data-root /usr/share/datasets > "$run/coordinator.log" 2>&1 < /dev/null &
echo $! > "$run/coordinator.pid"
for _ in $(seq 100); do
  trainyard job list > /dev/null 2>&1 && break
  kill -0 "$(cat "$run/coordinator.pid")" 2> /dev/null || die "the coordinator did not start"
  sleep 0.1
done

say "a bare Git repository, watched as project 'fashion'"
git init --quiet --bare --initial-branch=main "$run/fashion.git"
trainyard project add "$run/fashion.git" --name fashion --branch main
trainyard watch &
watcher=$!

say "git push"
git init --quiet --initial-branch=main "$run/checkout"
cp -r "$root/examples/fashion-mnist/." "$run/checkout/"
git -C "$run/checkout" add --all
git -C "$run/checkout" -c user.name=You -c user.email=you@example.com commit --quiet --message "Train a small CNN"
git -C "$run/checkout" push --quiet "$run/fashion.git" main

job=""
for _ in $(seq 300); do
  job=$(trainyard job list --output json | jq -r '.jobs[0].id // empty')
  [ -n "$job" ] && break
  sleep 0.1
done
[ -n "$job" ] || die "the push made no job: $(trainyard project list)"

# After the first epoch, in the middle of a later one: the steps say when.
kill_worker_in_mid_epoch() {
  local step pid
  for _ in $(seq 3000); do
    step=$(trainyard job show "$job" --output json | jq -r '
      (.trials[0].epochs[0].step // "0" | tonumber) as $epoch | .trials[-1] |
      (.epochs[-1].step // "0" | tonumber) as $done | (.attempts[-1].step // "0" | tonumber) as $now |
      if $epoch > 0 and $now > $done + $epoch * 0.15 and $now < $done + $epoch * 0.9
      then "step \($now) of trial \(.number)" else empty end')
    if [ -n "$step" ]; then
      pid=$(trainyard worker list --output json | jq -r '[.workers[] | select(.state == "BUSY")][0].pid // empty')
      if [ -n "$pid" ] && kill -KILL "$pid"; then
        printf '\n*** this script has killed worker process %s with SIGKILL, at %s\n\n' "$pid" "$step"
        return
      fi
    fi
    sleep 0.05
  done
  die "no trial was ever seen in the middle of an epoch"
}
kill_worker_in_mid_epoch

status=0
trainyard wait "$job" --timeout 15m > "$run/wait.txt" 2>&1 || status=$?
sleep 1 # for the watch to print its last lines
kill "$watcher" 2> /dev/null || true
watcher=""

say "job $job"
trainyard job show "$job"
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then die "the job ended with exit code $status: $(cat "$run/wait.txt")"; fi
trainyard model get "$job" -o "$run/best.onnx"
trainyard model get "$job" -o "$run/best.safetensors"
if $keep; then
  cat << END

It runs on. To play with it:
  export PATH=$root/build/quickstart/bin:\$PATH TRAINYARD_COORDINATOR=$TRAINYARD_COORDINATOR
  cd $run/checkout    # change trainyard.yaml, commit, git push $run/fashion.git main
  trainyard watch
To stop it: kill $(cat "$run/coordinator.pid")
END
fi
exit "$status"
