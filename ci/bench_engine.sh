#!/usr/bin/env bash
# Images per second of the engine and of PyTorch, by turns, on an otherwise idle machine.
# usage: ci/bench_engine.sh [BUILD] [ROUNDS]   (default: build/release, 5)
#
# Prints one line a contender: median over the rounds, then each round. PyTorch runs two ways: with
# a thread a core, and tuned besides (channels_last, a malloc that keeps its pages).
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
rounds=${2:-5}
threads=$(nproc)
program=$build/bin/images_per_second
[ -x "$program" ] || program=$(find "$build" -name images_per_second -type f -perm -u+x | head -n 1)
if [ -z "$program" ]; then
  echo "ci/bench_engine.sh: no images_per_second below $build; build that target first" >&2
  exit 2
fi
torch=worker/engine/bench/torch_images_per_second.py
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

contenders="trainyard torch torch-tuned"
if ! /usr/bin/python3 -c 'import torch' 2>/dev/null; then
  echo "PyTorch is not here (python3-torch): the engine runs alone" >&2
  contenders=trainyard
fi

run() {
  case $1 in
    trainyard) "$program" cpu "$threads" ;;
    torch) /usr/bin/python3 "$torch" plain "$threads" ;;
    torch-tuned)
      MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483648 \
        /usr/bin/python3 "$torch" channels_last "$threads" ;;
  esac
}

for round in $(seq "$rounds"); do
  echo "round $round of $rounds" >&2
  for contender in $contenders; do
    run "$contender" >> "$results/$contender"
  done
done

for what in training inference; do
  for contender in $contenders; do
    values=$(awk -v what="$what" '$1 == what { print $2 }' "$results/$contender" | sort -n)
    median=$(echo "$values" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')
    echo "$what $contender $median images/s (rounds: $(echo $values))"
  done
done
