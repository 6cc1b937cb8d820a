#!/usr/bin/env bash
# Tries the checks: takes one barrier, wait, fence, event or synchronisation at a time out of the cuda
# backend, or out of what calls its collectives, runs the tests on the traced simulator, and prints whether
# that was noticed. What is unchanged must pass first; a run that ends at its time limit has noticed nothing.
# Needs a built tree in build/.
# Usage: tests/simt/mutate.sh [FILE ...] (default: all of kernels/cuda that hold one, train/shard_device.c)
set -uo pipefail
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export SIMT_BUILD=$PWD/build/tests/simt OMP_THREAD_LIMIT=1
pattern='__syncthreads\(\)|__syncwarp\(\)|cp_async_wait<|cp_async_commit\(\);|cudaStreamSynchronize|LRL_CUDA\(cuda(EventRecord|StreamWaitEvent)|ops->use\(|return cuda_wait_event\(|= cuda_wait\('
[ $# -gt 0 ] || mapfile -t files < <(grep -lE "$pattern" kernels/cuda/*.cu kernels/cuda/*.cuh train/shard_device.c)
[ $# -eq 0 ] || files=("$@")
caught=0 missed=0
# Sources whose tests show a change of a header.
users() { case $1 in */mma.cuh) echo flash ;; */device.cuh) echo rms_norm softmax ;; *) basename "${1%.*}" ;; esac; }
program() { case $1 in */mma.cuh | */flash.cu) echo test_device_attention ;; */attention_decode.cu) echo test_device_decode ;; */nccl.cu | train/*) echo test_device_ranks ;; */backend.cu) echo test_device_passes ;; *) echo test_ops ;; esac; }
# program, folder of the backend: 0 it passes, 124 its time is over, else it fails.
try() {
  local only=()
  [ "$1" != test_device_ranks ] || only=(test_sums)
  LAUREL_BIN=build/laurel LAUREL_BACKENDS=$2 timeout 900 build/tests/"$1" sim "${only[@]}" >"$scratch/log" 2>&1
}
for p in $(for file in "${files[@]}"; do program "$file"; done | sort -u); do
  try "$p" build/trace || { echo "the unchanged backend fails $p (status $?): nothing can be said"; exit 2; }
done
for file in "${files[@]}"; do
  for line in $(grep -nE "$pattern" "$file" | grep -v 'inline void' | cut -d: -f1); do
    rm -rf "$scratch/kernels" "$scratch"/*.o
    mkdir -p "$scratch/kernels/cuda" "$scratch/train"
    sed -E "${line}s/(__syncthreads\(\)|__syncwarp\(\)|cp_async_wait<[^>]*>\(\)|cp_async_commit\(\));/;/; ${line}s/cudaStreamSynchronize\(stream\)/cudaSuccess/;
      ${line}s/LRL_CUDA\(cuda(EventRecord|StreamWaitEvent)\(.*\)\);/;/; ${line}s/return .*(ops->use|cuda_wait_event)\(.*;/return LRL_OK;/;
      ${line}s/= cuda_wait\(.*\);/= LRL_OK;/" \
      "$file" >"$scratch/$file"
    cmp -s "$file" "$scratch/$file" && continue
    folder=$scratch
    if [[ $file == train/* ]]; then # the worker of test_device_ranks, with this file instead of its library's
      folder=build/trace
      gcc -std=gnu11 -O2 -w -D_GNU_SOURCE -I . $(mpicc --showme:compile) -c "$scratch/$file" -o "$scratch/mutant.o" || exit 1
      (cd build && eval "$(ninja -t commands tests/device_worker | tail -1 |
        sed "s#-o tests/device_worker#$scratch/mutant.o -Wl,-z,muldefs -o $scratch/device_worker#")") || exit 1
      export DEVICE_WORKER=$scratch/device_worker
    fi
    objects=()
    for object in build/tests/simt/cuda_trace/*.o; do
      name=$(basename "$object" .o)
      if [[ " $(users "$file") " == *" $name "* ]]; then
        source=kernels/cuda/$name.cu
        [ ! -e "$scratch/$source" ] || source=$scratch/$source
        tests/simt/simt-nvcc --trace -I "$scratch" -I . -fvisibility=hidden -DLRL_CUDA_NAME='"sim"' \
          -D_GNU_SOURCE -w -c "$source" -o "$scratch/$name.o" || exit 1
        object=$scratch/$name.o
      fi
      objects+=("$object")
    done
    g++ -shared -o "$scratch/liblaurel_sim.so" "${objects[@]}" -Wl,-Bsymbolic -Wl,--whole-archive \
      build/tests/simt/libsimt_trace.a -Wl,--no-whole-archive -ldl
    try "$(program "$file")" "$folder"
    status=$?
    unset DEVICE_WORKER
    if [ $status -eq 0 ] || [ $status -eq 124 ]; then
      missed=$((missed + 1))
      echo "NOT CAUGHT $file:$line: $(sed -n "${line}p" "$file" | sed 's/^ *//')"
    else
      caught=$((caught + 1))
      echo "caught     $file:$line: $(grep -m1 -oE '(SIMT:|rank [0-9]+: not so:) .*' "$scratch/log" | cut -c1-120)"
    fi
  done
done
echo "$caught caught, $missed not caught"
[ $missed -eq 0 ]
