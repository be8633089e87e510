#!/usr/bin/env bash
# The cpu backend held to PyTorch and Keras on this machine: ci/bench.sh says how it is called.
#
# The newest PyTorch and Keras are installed from PyPI into build/bench/peers, once; TRAINYARD_PEERS names another
# virtual environment that has them. All that was seen is in build/bench/cpu.json, whose parts are measured
# again one by one or all together.
source "$(dirname "$0")/common.sh"

does=$1 folder=$root/build/bench
results=$folder/cpu.json
shift
if [ "$does" = table ]; then
  [ $# -eq 0 ] || die "table takes nothing, found '$1'"
  [ -e "$results" ] || die "found no ${results#"$root"/}: run ci/bench.sh cpu"
  exec /usr/bin/python3 "$root/ci/bench/cpu_table.py" "$results"
fi
count=5
if [ $# -gt 0 ] && [[ $1 != --* ]]; then
  count=$1
  shift
fi
[[ $count =~ ^[1-9][0-9]*$ ]] || die "found '$count', expected the number of rounds or seeds"
case $does in
  cpu) arguments=(--rounds "$count") ;;
  accuracy) arguments=(--parts accuracy --seeds "$count") ;;
esac

install_packages build run test all bench
build "$folder/engine" -DTRAINYARD_SERVICE=OFF -DTRAINYARD_NVCC=OFF -- cpu_peaks engine_dump engine_speed engine_train
peers=${TRAINYARD_PEERS:-$folder/peers}
python=$peers/bin/python
if [ -z "${TRAINYARD_PEERS:-}" ] && ! "$python" -c 'import torch, tensorflow, keras' 2> /dev/null; then
  say "installing PyTorch, TensorFlow and Keras from PyPI into ${peers#"$root"/}"
  rm -rf "$peers"
  /usr/bin/python3 -m venv "$peers"
  "$peers/bin/pip" install --quiet torch tensorflow-cpu keras
fi
[ -x "$python" ] || die "$peers: found no bin/python, expected a virtual environment with torch, tensorflow and keras"

say "the same weights, the same logits"
"$python" "$root/tests/ci/bench_networks_test.py" "$folder/engine/bin"
say "$does, $("$python" -m pip list 2> /dev/null |
  awk '$1 ~ /^(torch|tensorflow-cpu|tensorflow_cpu|keras)$/ {printf "%s%s %s", sep, $1, $2; sep = ", "}')"
exec "$python" "$root/ci/bench/cpu_bench.py" --programs "$folder/engine/bin" --results "$results" "${arguments[@]}" "$@"
