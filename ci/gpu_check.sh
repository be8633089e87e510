#!/usr/bin/env bash
# Proves the CUDA kernels on a machine with a GPU that is bare but for nvcc, CMake and a C++ compiler.
#
#   ci/gpu_check.sh pack [FOLDER]             copies what such a machine lacks into FOLDER
#   ci/gpu_check.sh check [FOLDER] [OPTION]   there
#
# FOLDER is build/gpu_pack unless named. `check` builds network, kernels and engine, runs the kernels' tests on
# the GPU, also under compute-sanitizer, measures each kernel, and runs the tests of the rest on the CPU. A log,
# a summary and the device table come to $OUT, or to build/gpu_check, as they are made. Options:
#   --no-gpu         all but what runs on a GPU, for a machine without one
#   --quick          builds and runs the smallest part of it: a test of this script
#   --build FOLDER   where to build (build/gpu)
source "$(dirname "$0")/common.sh"

# pack FOLDER
pack() {
  local folder=$1 part
  [ -d /usr/src/googletest ] || die "found no GoogleTest in /usr/src/googletest: install the package googletest"
  [ -d /usr/include/nlohmann ] || die "found no /usr/include/nlohmann: install the package nlohmann-json3-dev"
  rm -rf "$folder"
  mkdir -p "$folder"/googletest/{googletest,googlemock} "$folder"/usr/{include,share/cmake}
  cp /usr/src/googletest/CMakeLists.txt "$folder/googletest/"
  for part in googletest googlemock; do
    cp -r /usr/src/googletest/$part/{CMakeLists.txt,cmake,include,src} "$folder/googletest/$part/"
  done
  cp -r /usr/include/nlohmann "$folder/usr/include/"
  cp -r /usr/share/cmake/nlohmann_json "$folder/usr/share/cmake/"
  dpkg-query -W googletest nlohmann-json3-dev > "$folder/versions"
  say "packed into ${folder#"$root"/}: $(tr '\t\n' ' ;' < "$folder/versions") $(du -sh "$folder" | cut -f1)"
}

summary=("| part | result | time |" "| --- | --- | --- |")
failed=0

# row CELLS: adds to the summary, which is written at once: who stops the rest keeps what was done.
row() {
  summary+=("$1")
  printf '%s\n' "${summary[@]}" > "$results/summary.md"
}

# part NAME FUNCTION: runs it into the log, tells how it ended and how long it took.
part() {
  local name=$1 start=$SECONDS status=0 result first
  say "$name" | tee -a "$results/check.log"
  first=$(($(wc -l < "$results/check.log") + 1))
  "$2" >> "$results/check.log" 2>&1 || status=$?
  case $status in
    0) result=passed ;;
    77) result="not run: $(tail -1 "$results/check.log")" ;;
    124) result="FAILED: took too long" failed=1 ;;
    *) result=FAILED failed=1 ;;
  esac
  case $result in FAILED*) tail -n "+$first" "$results/check.log" | tail -40 ;; esac
  row "| $name | $result | $((SECONDS - start)) s |"
  echo "$result, $((SECONDS - start)) s"
}
not_run() { echo "$1"; return 77; }

# Whether this nvcc compiles for all of these, such as 90.
nvcc_has() {
  local known architecture
  known=$(nvcc --list-gpu-code) || return
  for architecture; do
    grep -qx "sm_$architecture" <<< "$known" || return
  done
}

# Other compilers than ours may warn of other things, and spill: that is told, not refused.
configure_and_build() {
  local generator=() architectures=()
  ! command -v ninja > /dev/null || generator=(-G Ninja)
  if $gpu; then
    mapfile -t architectures < <(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d . | sort -u)
    if nvcc_has "${architectures[@]}"; then
      architectures=("${architectures[@]/%/-real}")
      architectures=(-DCMAKE_CUDA_ARCHITECTURES="$(IFS=';'; echo "${architectures[*]}")")
    else
      architectures=()  # newer than this nvcc: it starts from PTX
    fi
  fi
  ! $quick || architectures=(-DCMAKE_CUDA_ARCHITECTURES=90-real)
  cmake -S "$root" -B "$build" "${generator[@]}" "${architectures[@]}" -DCMAKE_BUILD_TYPE=Release \
    -DTRAINYARD_SERVICE=OFF -DTRAINYARD_ONEDNN=OFF -DTRAINYARD_NVCC=ON -DTRAINYARD_WERROR=OFF \
    -DTRAINYARD_GTEST_SOURCE="$pack/googletest" -DCMAKE_PREFIX_PATH="$pack/usr" || return
  local targets=(network_test kernels_device_table)
  $quick || targets+=(kernels_test engine_test engine_weights_test engine_morph_test
    kernels_device_test kernels_device_small_test)
  cmake --build "$build" --parallel "$(nproc)" --target "${targets[@]}" || return
  grep -r '[1-9][0-9]* bytes spill' "$build/kernels/cuda" --include='*.ptxas' || echo "no register is spilled"
}

# Those of the programs built above that need no Python.
cpu_tests() {
  local folders=(network) folder
  $quick || folders+=(kernels worker/engine)
  for folder in "${folders[@]}"; do
    ctest --test-dir "$build/tests/$folder" --parallel "$(nproc)" --output-on-failure --no-tests=error \
      --exclude-regex '_NOT_BUILT$|^Device|^engine_(compare_torch|checkpoint_read)' || return
  done
}

device_tests() {
  timeout 240 "$build/bin/kernels_device_test" --gtest_brief=1 | tee "$build/device.log" || return
  ! grep 'no usable GPU' "$build/device.log"
}

# sanitizer TOOL, into a log of its own. They run at the same time: the shapes are small.
sanitizer() {
  timeout 240 compute-sanitizer --tool "$1" --error-exitcode 1 \
    "$build/bin/kernels_device_small_test" --gtest_brief=1 > "$build/$1.log" 2>&1
}
sanitizers() {
  command -v compute-sanitizer > /dev/null || not_run "found no compute-sanitizer on the PATH" || return
  local tool status=0 refused=0 running=()
  for tool in memcheck racecheck synccheck; do
    sanitizer $tool &
    running+=("$tool:$!")
  done
  for tool in "${running[@]}"; do
    wait "${tool#*:}" || status=$?
    tool=${tool%:*}
    cat "$build/$tool.log"
    if grep -q 'Device not supported' "$build/$tool.log"; then refused=$((refused + 1)); fi
  done
  [ $refused -lt ${#running[@]} ] || not_run "compute-sanitizer refuses this device" || return
  return $status
}

device_table() { timeout 240 "$build/bin/kernels_device_table" "$results"; }

# check: with pack, build, gpu and quick set.
check() {
  PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
  command -v cmake > /dev/null || die "found no cmake: install CMake 3.25 or newer"
  command -v ninja > /dev/null || command -v make > /dev/null || die "found neither ninja nor make: install one"
  command -v nvcc > /dev/null || die "found no nvcc: install CUDA's toolkit, or put its bin/ on the PATH"
  [ -d "$pack/googletest" ] || die "found no pack in $pack: run ci/gpu_check.sh pack where Debian's packages are, and bring the folder along"
  if $gpu && ! nvidia-smi -L > /dev/null 2>&1; then
    die "found no GPU (nvidia-smi): run this where one is, or with --no-gpu"
  fi
  results=$(realpath -m "${OUT:-$root/build/gpu_check}")
  mkdir -p "$results" "$build"
  rm -f "$results"/{check.log,summary.md,device_table.md,device_table.json}
  nvcc --version | tail -2 >> "$results/check.log"

  part "build with nvcc" configure_and_build
  if [ $failed -eq 0 ]; then
    if $gpu; then
      nvidia-smi -L | tee -a "$results/check.log"
      part "kernels on the GPU" device_tests
      part "device table" device_table
      part "compute-sanitizer" sanitizers
    else
      row "| on the GPU | not run: --no-gpu | |"
    fi
    part "tests on the CPU" cpu_tests
  fi
  ! $gpu || cat "$results/device_table.md" 2> /dev/null || true
  say "summary"
  cat "$results/summary.md"
  return $failed
}

does=${1:-}
[ $# -eq 0 ] || shift
pack=$root/build/gpu_pack build=$root/build/gpu gpu=true quick=false
while [ $# -gt 0 ]; do
  case $1 in
    --no-gpu) gpu=false ;;
    --quick) quick=true ;;
    --build) build=${2:?--build takes a folder}; shift ;;
    -*) die "unknown option '$1': expected --no-gpu, --quick or --build FOLDER" ;;
    *) pack=$1 ;;
  esac
  shift
done
pack=$(realpath -m "$pack") build=$(realpath -m "$build")
case $does in
  pack) pack "$pack" ;;
  check) check ;;
  *) die "found '$does', expected pack or check" ;;
esac
