#!/usr/bin/env bash
# Proves the CUDA backend on a machine with a GPU that is bare but for nvcc, CMake, a C++ compiler and Python
# with PyTorch, and measures it against PyTorch.
#
#   ci/gpu_check.sh pack [FOLDER]                 copies what such a machine lacks into FOLDER
#   ci/gpu_check.sh check [FOLDER] [OPTION...]    there
#   ci/gpu_check.sh bench NET [FOLDER] [OPTION...]
#
# FOLDER is build/gpu_pack unless named. `check` builds network, kernels and engine, runs the kernels' and the
# step program's tests on the GPU, also under compute-sanitizer, trains, kills and continues, measures each
# kernel, and runs the tests of the rest on the CPU. `bench` trains NET (lenet-128, lenet-1024, resnet9-512,
# resnet50-32-128, resnet50-224-256, cifar10-94) in Trainyard and in PyTorch by turns. Each ends within 10
# minutes. What they say comes to build/gpu_check as it is known, and is copied to $OUT if that is set; `bench`
# appends: its table tells of all networks so far. Options:
#   --no-gpu           all but what runs on a GPU, for a machine without one
#   --quick            check: builds and runs the smallest part of it: a test of this script
#   --build FOLDER     where to build (build/gpu); results lie beside it, in gpu_check
#   --programs FOLDER  bench: where the programs are; nothing is built
#   --cifar FOLDER     bench cifar10-94: CIFAR-10's binary files
#   --only A,B         bench: only these of torch-compile, torch-eager, torch-graph, trainyard, trainyard-own
# PYTHON is the Python that has PyTorch (python3).
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

# Copies the results to where they were asked for.
deliver() {
  [ -z "${OUT:-}" ] || [ "$(realpath -m "$OUT")" = "$results" ] || { mkdir -p "$OUT" && cp "$results"/* "$OUT/"; }
}

# row CELLS: adds to the summary, which is written at once: who stops the rest keeps what was done.
row() {
  summary+=("$1")
  printf '%s\n' "${summary[@]}" > "$results/summary.md"
  deliver
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

# One folder below which CUDA's toolkit and NVIDIA's wheels lie, for cmake/FindNvidiaLibraries.cmake: the toolkit
# first, and PyTorch's wheels for what it lacks, which may be cuDNN.
nvidia_root() {
  local toolkit part wheel
  toolkit=$(dirname "$(dirname "$(readlink -f "$(command -v nvcc)")")")
  rm -rf "$build/nvidia"
  mkdir -p "$build/nvidia/0-toolkit"
  for part in "$toolkit/include" "$toolkit/targets/x86_64-linux/include"; do
    [ ! -e "$part/cuda_runtime_api.h" ] || { ln -sfn "$part" "$build/nvidia/0-toolkit/include"; break; }
  done
  for part in "$toolkit/lib64" "$toolkit/targets/x86_64-linux/lib" "$toolkit/lib"; do
    compgen -G "$part/libcudart.so*" > /dev/null || continue
    ln -sfn "$part" "$build/nvidia/0-toolkit/lib"
    break
  done
  "$python" -c 'import nvidia; print("\n".join(nvidia.__path__))' 2> /dev/null |
    while read -r part; do
      for wheel in "$part"/*/; do ln -sfn "$wheel" "$build/nvidia/1-$(basename "$wheel")"; done
    done
  (IFS=:; parts=("$build"/nvidia/*/lib); echo "${parts[*]}") > "$build/library_path"
}

# With NVIDIA's libraries where they are told to look for others of theirs, such as nvrtc.
with_libraries() { LD_LIBRARY_PATH=$(cat "$build/library_path")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} "$@"; }

# within SECONDS COMMAND...: on a GPU, which is lent for minutes, all of it ends within 10 of them.
within() {
  local left=$((590 - SECONDS)) most=$1
  shift
  ! $gpu || [ "$left" -ge "$most" ] || most=$((left > 1 ? left : 1))
  timeout "$most" "$@"
}

# build_targets TARGET...: other compilers than ours may warn of other things, and spill: that is told, not refused.
build_targets() {
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
  nvidia_root || return
  cmake -S "$root" -B "$build" "${generator[@]}" "${architectures[@]}" -DCMAKE_BUILD_TYPE=Release \
    -DTRAINYARD_SERVICE=OFF -DTRAINYARD_CPU=OFF -DTRAINYARD_NVCC=ON -DTRAINYARD_WERROR=OFF \
    -DTRAINYARD_CUDA_ROOT="$build/nvidia" \
    -DTRAINYARD_GTEST_SOURCE="$pack/googletest" -DCMAKE_PREFIX_PATH="$pack/usr" || return
  within 850 cmake --build "$build" --parallel "$(nproc)" --target "$@" || return
  grep -r '[1-9][0-9]* bytes spill' "$build/kernels/cuda" --include='*.ptxas' || echo "no register is spilled"
}

build_for_check() {
  local targets=(network_test kernels_device_table)
  $quick || targets+=(kernels_test kernels_cuda_module_test engine_test engine_weights_test engine_morph_test
    engine_train kernels_device_test kernels_device_small_test)
  build_targets "${targets[@]}"
}

# Those of the programs built above that need no Python.
cpu_tests() {
  local folders=(network) folder
  $quick || folders+=(kernels worker/engine)
  for folder in "${folders[@]}"; do
    within 300 ctest --test-dir "$build/tests/$folder" --parallel "$(nproc)" --output-on-failure --no-tests=error \
      --exclude-regex "_NOT_BUILT\$|_(asan|tsan)_test\$|^kernels_cudnn|^Device|^engine_(compare_torch|checkpoint_read)" \
      || return
  done
}

device_tests() {
  local shard shards=4 status=0 running=()
  for ((shard = 0; shard < shards; ++shard)); do
    GTEST_TOTAL_SHARDS=$shards GTEST_SHARD_INDEX=$shard with_libraries within 330 \
      "$build/bin/kernels_device_test" --gtest_brief=1 > "$build/device.$shard.log" 2>&1 &
    running+=($!)
  done
  for shard in "${!running[@]}"; do
    wait "${running[$shard]}" || status=$?
    cat "$build/device.$shard.log"
  done
  ! grep 'no usable GPU' "$build"/device.*.log || status=1
  return $status
}

# sanitizer TOOL, into a log of its own. They run at the same time: the shapes are small.
sanitizer() {
  with_libraries within 240 compute-sanitizer --tool "$1" --error-exitcode 1 \
    "$build/bin/kernels_device_small_test" --gtest_brief=1 \
    --gtest_filter='-*CudnnSteps*:*MatmulSteps*' > "$build/$1.log" 2>&1  # NVIDIA's own kernels are not ours to check
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

device_table() { within 240 "$build/bin/kernels_device_table" "$results"; }

# On the GPU through the module that a worker loads.
trainer_on_gpu() {
  with_libraries within 200 "$python" "$root/ci/bench/trainer_check.py" "$build/bin/engine_train" cuda reference \
    fp32 tf32 bf16
}
trainer_on_cpu() {
  within 240 "$python" "$root/ci/bench/trainer_check.py" "$build/bin/engine_train" reference reference
}

# What both need.
look_around() {
  command -v "$python" > /dev/null || die "found no $python: install Python, or name it in PYTHON"
  if $gpu && ! nvidia-smi -L > /dev/null 2>&1; then
    die "found no GPU (nvidia-smi): run this where one is, or with --no-gpu"
  fi
  mkdir -p "$results" "$build"
}
look_for_compilers() {
  command -v cmake > /dev/null || die "found no cmake: install CMake 3.25 or newer"
  command -v ninja > /dev/null || command -v make > /dev/null || die "found neither ninja nor make: install one"
  command -v nvcc > /dev/null || die "found no nvcc: install CUDA's toolkit, or put its bin/ on the PATH"
  [ -d "$pack/googletest" ] || die "found no pack in $pack: run ci/gpu_check.sh pack where Debian's packages are, and bring the folder along"
}

check() {
  look_for_compilers
  look_around
  rm -f "$results"/{check.log,summary.md,device_table.md,device_table.json}
  nvcc --version | tail -2 >> "$results/check.log"

  part "build with nvcc" build_for_check
  if [ $failed -eq 0 ]; then
    if $gpu; then
      nvidia-smi -L | tee -a "$results/check.log"
      part "kernels and whole steps on the GPU" device_tests
      part "device table" device_table
      part "trained, killed and continued on the GPU" trainer_on_gpu
      part "compute-sanitizer" sanitizers
    else
      row "| on the GPU | not run: --no-gpu | |"
      $quick || part "trained, killed and continued on the CPU" trainer_on_cpu
    fi
    part "tests on the CPU" cpu_tests
  fi
  deliver
  ! $gpu || cat "$results/device_table.md" 2> /dev/null || true
  say "summary"
  cat "$results/summary.md"
  if [ -e "$results/bench.jsonl" ]; then
    say "with what bench measured so far"
    "$python" "$root/ci/bench/gpu_table.py" "$results"
    deliver
  fi
  return $failed
}

# Into a file, for ci/bench/gpu_rounds.py, which lets PyTorch prepare meanwhile: "ok", or why not.
build_for_bench() {
  local said=ok
  local targets=(engine_device_speed kernels_device_table)
  [ "$net" != cifar10-94 ] || targets+=(engine_train trainyard_cuda)  # the trainer loads its backend
  build_targets "${targets[@]}" > "$build/bench_build.log" 2>&1 ||
    said="the build failed: $(grep -m1 -E 'error|Error' "$build/bench_build.log" || tail -1 "$build/bench_build.log")"
  echo "$said" > "$build/built.new"
  mv "$build/built.new" "$build/built"
}

bench() {
  [ -n "$programs" ] || look_for_compilers
  look_around
  local arguments=("$net" --results "$results" --work "$build/bench" --seconds "$((540 - SECONDS))") status=0
  $gpu || arguments+=(--cpu --rounds 2)
  [ -z "$cifar" ] || arguments+=(--cifar "$cifar")
  [ -z "$only" ] || arguments+=(--contenders "$only")
  if [ -n "$programs" ]; then
    arguments+=(--programs "$programs")
  else
    $gpu || die "bench builds for a GPU: with --no-gpu, name --programs"
    rm -f "$build/built"
    build_for_bench &
    arguments+=(--programs "$build/bin" --built "$build/built" --library-path "$build/library_path")
  fi
  "$python" "$root/ci/bench/gpu_rounds.py" "${arguments[@]}" || status=$?
  # What the contenders said besides, where somebody wants to know why one failed.
  tail -n 40 "$build"/bench_build.log "$build"/bench/*.log > "$results/bench.log" 2> /dev/null || true
  deliver
  wait
  return $status
}

does=${1:-}
[ $# -eq 0 ] || shift
pack=$root/build/gpu_pack build=$root/build/gpu gpu=true quick=false
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
python=${PYTHON:-python3} net='' programs='' cifar='' only=''
if [ "$does" = bench ]; then
  [ $# -gt 0 ] || die "bench takes the name of a network"
  net=$1
  shift
fi
while [ $# -gt 0 ]; do
  case $1 in
    --no-gpu) gpu=false ;;
    --quick) quick=true ;;
    --build) build=${2:?--build takes a folder}; shift ;;
    --programs) programs=$(realpath -m "${2:?--programs takes a folder}"); shift ;;
    --cifar) cifar=$(realpath -m "${2:?--cifar takes a folder}"); shift ;;
    --only) only=${2:?--only takes names of contenders}; shift ;;
    -*) die "unknown option '$1': expected --no-gpu, --quick, --build, --programs, --cifar or --only" ;;
    *) pack=$1 ;;
  esac
  shift
done
pack=$(realpath -m "$pack") build=$(realpath -m "$build")
results=$(dirname "$build")/gpu_check
case $does in
  pack) pack "$pack" ;;
  check) check ;;
  bench) bench ;;
  *) die "found '$does', expected pack, check or bench" ;;
esac
