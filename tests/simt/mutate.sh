#!/usr/bin/env bash
# Tries the checks: makes one mutant at a time (mutations.pl: a barrier, wait, fence, event or synchronisation
# that is missing, weaker or in the wrong place) of the cuda backend or of what uses it, runs the tests of that
# file on the traced simulator, and prints whether they noticed. The first test is quick; the others run only
# where it notices nothing. What is unchanged must pass first; a run that ends at its time limit has noticed
# nothing. Needs a built tree in build/.
# Usage: tests/simt/mutate.sh [FILE[:LINE] ...] (default: every file that has a mutant)
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export SIMT_STOP=1 # every test fails on a report
export SIMT_BUILD=$PWD/build/tests/simt OMP_THREAD_LIMIT=1 OMP_WAIT_POLICY=passive LAUREL_SOURCE=$PWD LC_ALL=C
mutations() { perl tests/simt/mutations.pl "$@"; }
if [ $# -eq 0 ]; then
  for file in kernels/cuda/*.cu kernels/cuda/*.cuh kernels/backend.c train/*.c model/*.c; do
    [ -z "$(mutations "$file")" ] || set -- "$@" "$file"
  done
fi

# What no test can notice, as an extended regular expression over "FILE what: text", and why it stays.
by_design=(
)

# Steps for a file, the quick ones first: what is built from it (kernels, or programs), the test, its arguments.
steps() {
  case $1 in
  */attention.cu) echo "attention test_ops sim test_attention_?wd" ;;
  */attention_decode.cu) printf '%s\n' "attention_decode test_ops sim test_attention_decode" "attention_decode test_device_decode sim" ;;
  */flash.cu) echo "flash test_device_attention sim" ;;
  */mma.cuh) printf '%s\n' "flash test_device_attention sim" "attention_decode test_device_decode sim" ;;
  */device.cuh)
    for name in "rms_norm test_rms*" "softmax test_logprob*" "softmax test_cross*" "layer_norm test_layer*" "whiten test_whiten" \
      "adamw test_sumsq" "head test_head*" "policy test_ppo*" "sample test_sample"; do echo "${name% *} test_ops sim ${name#* }"; done ;;
  */sample.cu) echo "sample test_ops sim test_sample" ;;
  */gemm.cu) echo "gemm test_ops sim test_gemm" ;;
  */elementwise.cu) echo "elementwise test_ops sim test_colsum" ;;
  */stopwatch.cu) echo "stopwatch test_bench" ;;
  */graph.cu) printf '%s\n' "graph test_device_generate sim test_parts" "graph test_device_generate sim" ;;
  */backend.cu) printf '%s\n' "backend test_device_passes sim" "backend test_device_ranks sim test_sums" "backend test_ops sim test_rms*" \
    "backend test_device_generate sim test_parts" "backend test_device_runs sim" ;;
  */cudnn.cu) printf '%s\n' "cudnn test_device_cudnn sim" ;;
  */nccl.cu) printf '%s\n' "nccl test_device_ranks sim test_sums" "nccl test_device_ranks sim" ;;
  kernels/cuda/*) echo "$(basename "${1%.*}") test_ops sim" ;;
  train/shard_device.c) printf '%s\n' "tests/device_worker test_device_ranks sim test_sums" "laurel test_device_ranks sim test_training" ;;
  train/shard*.c) printf '%s\n' "tests/device_worker test_device_ranks sim test_sums" "tests/rank_worker test_ranks" "laurel test_device_ranks sim" ;;
  kernels/backend.c) echo "tests/test_device_generate test_device_generate sim test_parts" ;;
  model/decoder.c | model/vit.c)
    echo "tests/laurel_golden laurel_golden ../shared/golden --device sim --only A1,B1" ;;
  model/generate_pass.c) printf '%s\n' "tests/test_device_generate test_device_generate sim" "laurel test_device_curves sim 2" ;;
  train/comm.c) printf '%s\n' "tests/rank_worker test_ranks" "laurel test_ranks" "laurel test_device_ranks sim" ;;
  train/checkpoint_*) printf '%s\n' "laurel test_device_runs sim test_resumed" "tests/rank_worker test_ranks" \
    "tests/test_device_migrations test_device_migrations sim" "laurel test_device_ranks sim test_resumed" ;;
  *) printf '%s\n' "laurel test_device_runs sim" "laurel test_device_curves sim 2" "tests/test_device_migrations test_device_migrations sim" \
      "laurel test_device_ranks sim test_resumed" ;;
  esac
}
# Objects of the backend with those of $1 made from what is in $scratch, or from the tree.
build_backend() {
  local object name source objects=()
  for object in build/tests/simt/cuda_trace/*.o; do
    name=$(basename "$object" .o) source=kernels/cuda/$name.cu
    if [ "$name" = "$1" ]; then
      [ ! -e "$scratch/$source" ] || source=$scratch/$source
      object=$scratch/$name.o
      tests/simt/simt-nvcc --trace -I "$scratch" -I . -fvisibility=hidden -DLRL_CUDA_NAME='"sim"' -DLRL_CUDNN_LINKED \
        -D_GNU_SOURCE -w -c "$source" -o "$object" || return 1
    fi
    objects+=("$object")
  done
  g++ -shared -o "$scratch/liblaurel_sim.so" "${objects[@]}" -Wl,-Bsymbolic -Wl,--whole-archive \
    build/tests/simt/libsimt_trace.a -Wl,--no-whole-archive -ldl
}
# The program $1 with the file $2 in place of its library's.
build_program() {
  (cd build &&
    eval "$(ninja -t commands "$1" | grep -m1 -- "-c [^ ]*/$2\$" | sed "s# -MD.* -c .*# -w -c $scratch/$2 -o $scratch/mutant.o#")" &&
    eval "$(ninja -t commands "$1" | tail -1 | sed "s# -o $1 # $scratch/mutant.o -Wl,-z,muldefs -o $scratch/${1##*/} #")")
}
# Builds a step's part with FILE as it is in $scratch, or in the tree, and runs its test. 0: it passes, 124: its
# time is over, 200: there is nothing to run, else: it fails.
run_step() { # FILE part program arguments...
  local file=$1 part=$2 bin=build/tests
  shift 2
  export LAUREL_BIN=$PWD/build/laurel LAUREL_BACKENDS=$PWD/build/trace
  if [[ $file == kernels/cuda/* ]]; then
    build_backend "$part" || return 200
    LAUREL_BACKENDS=$scratch
  elif [ -e "$scratch/$file" ]; then
    build_program "$part" "$file" || return 200
    LAUREL_BIN=$scratch/laurel
    if [ "$part" != laurel ]; then # workers are found beside the tests that start them
      cp -n build/tests/{*_worker,test_ranks,test_device_ranks} "$scratch"
      LAUREL_BIN=$PWD/build/laurel bin=$scratch
    fi
  fi
  # What the host did not wait for is wrong there, too.
  [[ $file == kernels/cuda/* || $part == tests/device_worker ]] || LAUREL_BACKENDS=$PWD/build
  [ "$1" != laurel_golden ] || local -x SIMT_ORDER=2 SIMT_STREAMS=2 # as in ./check
  { timeout "${LIMIT:-600}" "$bin/$1" "${@:2}" >"$scratch/log" 2>&1; } 2>/dev/null # without bash's word about signals
}

caught=0 missed=0 excused=0
declare -A passes
for file in "$@"; do
  only=${file#*:} file=${file%%:*}
  [ "$only" != "$file" ] || only=""
  mapfile -t plan < <(steps "$file")
  while IFS=$'\t' read -r number line what text; do
    [ -z "$only" ] || [ "$only" = "$line" ] || continue
    status=0 said=""
    for step in "${plan[@]}"; do
      set -f
      # shellcheck disable=SC2206
      words=($step)
      set +f
      if [ -z "${passes[$step]:-}" ]; then # unchanged
        rm -rf "${scratch:?}"/*
        run_step "$file" "${words[@]}" || { echo "unchanged, $file fails ${words[*]:1}: nothing can be said"; tail -5 "$scratch/log"; exit 2; }
        passes[$step]=1
      fi
      rm -rf "${scratch:?}"/*
      mkdir -p "$scratch/$(dirname "$file")"
      mutations "$file" "$number" >"$scratch/$file"
      run_step "$file" "${words[@]}"
      status=$?
      [ $status -ne 124 ] || status=0
      [ $status -eq 0 ] || break
    done </dev/null
    entry="$file:$line: $what: $text"
    if [ $status -eq 200 ]; then
      echo "does not compile: $entry"
      missed=$((missed + 1))
      continue
    elif [ $status -ne 0 ]; then
      caught=$((caught + 1))
      said=$(grep -m1 -oE '(SIMT:|the simulator reports:|rank [0-9]+: not so:|\[  ERROR.*\]|operand [0-9]).*' "$scratch/log" | cut -c1-100)
      echo "caught     $entry (${words[*]:1}: $said)"
      continue
    fi
    for excuse in "${by_design[@]}"; do
      [[ "$file $what: $text" =~ ${excuse%% # *} ]] || continue
      said=${excuse#* # }
    done
    if [ -n "$said" ]; then
      excused=$((excused + 1))
      echo "by design  $entry ($said)"
    else
      missed=$((missed + 1))
      echo "NOT CAUGHT $entry"
    fi
  done < <(mutations "$file")
done
echo "$caught caught, $excused by design, $missed not caught"
[ $missed -eq 0 ]
