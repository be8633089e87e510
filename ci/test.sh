#!/usr/bin/env bash
# All tests, from a bare Debian 12 to one closing line: "N passed, N failed, N skipped".
#
#   ci/test.sh                 with Debian's packages only
#   ci/test.sh --all           with what comes from PyPI too (kept in build/venv)
#   ci/test.sh --only REGEX    the tests whose names match
source "$(dirname "$0")/common.sh"

all=false
only=.
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=true ;;
    --only) only=${2:?--only takes a regular expression}; shift ;;
    *) die "unknown argument '$1': expected --all or --only REGEX" ;;
  esac
  shift
done

install_packages build run test
export TRAINYARD_VENV=$root/build/venv
if $all; then
  install_packages all
  if ! "$TRAINYARD_VENV/bin/python" -c \
    'import onnx, onnxruntime, safetensors, PIL; from importlib.metadata import version; version("tf_keras")' \
    2> /dev/null; then
    say "installing onnxruntime, safetensors and Keras from PyPI into build/venv"
    rm -rf "$TRAINYARD_VENV"
    /usr/bin/python3 -m venv "$TRAINYARD_VENV"
    "$TRAINYARD_VENV/bin/pip" install --quiet -r "$root/ci/requirements.txt"
  fi
fi

build "$root/build/release"
grep -q '^TRAINYARD_NVCC:BOOL=ON' "$root/build/release/CMakeCache.txt" ||
  say "no nvcc here: the CUDA kernels are tested on the emulated machine, and compiled for no GPU"
[ -x "$root/build/release/bin/kernels_cudnn_test" ] ||
  say "cuDNN's headers or the stub of CUDA's driver are not here: cuDNN's plans are not tested"
command -v aarch64-linux-gnu-g++ > /dev/null && command -v qemu-aarch64 > /dev/null ||
  say "no cross compiler or emulator for Arm here (--all installs them): NEON is not tested"
grep -q avx512vl /proc/cpuinfo || say "AVX-512 is not on this machine: its loops are not tested"
command -v nvidia-smi > /dev/null || say "no GPU here: what needs one is not run"

say "testing"
report=$root/build/tests.xml
rm -f "$report"
status=0
(cd "$root/build/release" &&
  ctest --output-on-failure --parallel 2 --tests-regex "$only" --output-junit "$report") || status=$?
[ -s "$report" ] || die "ctest wrote no report (exit code $status)"

count() { grep -o -m1 "$1=\"[0-9]*\"" "$report" | grep -o '[0-9]*'; }
total=$(count tests) failed=$(count failures) skipped=$(($(count skipped) + $(count disabled)))
if [ "$skipped" -gt 0 ]; then
  say "skipped"
  awk -F'"' '/<testcase/ {name = $2} /<skipped|status="(notrun|disabled)"/ {print "  " name}' "$report" | sort -u
fi
echo
echo "$((total - failed - skipped)) passed, $failed failed, $skipped skipped"
[ "$total" -gt 0 ] || die "no test ran"
exit "$status"
