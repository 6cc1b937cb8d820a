#!/usr/bin/env bash
# Everything that a machine with a GPU can show, in one command: builds, then holds every op, the golden cases
# and a loss curve of the device against the cpu, runs compute-sanitizer where it is installed, and measures.
# Ends in one table. Usage: tests/gpu.sh [--device cuda|sim] [--quick] [--built FOLDER] [--out FOLDER]
#   --device sim  the same on the simulator, which says that the script works and nothing about speed
#   --quick       a few ops, one golden case, four steps: seconds on the simulator
#   --built       what is built there, instead of building into build/
#   --out         keeps logs and runs (default: a folder under /tmp)
# Exit: 0 all passed, 1 something failed, 2 wrong arguments, 77 there is no GPU or no CUDA toolkit.
set -uo pipefail
cd "$(dirname "$0")/.."
device=cuda quick=0 built="" out=""
while [ $# -gt 0 ]; do
  case $1 in
  --device) device=${2:-}; shift ;;
  --quick) quick=1 ;;
  --built) built=${2:-}; shift ;;
  --out) out=${2:-}; shift ;;
  *) sed -n '2,10s/^# //p' "$0" >&2; exit 2 ;;
  esac
  shift
done
case $device in cuda | sim) ;; *) echo "gpu.sh: --device is cuda or sim, not '$device'" >&2; exit 2 ;; esac
export PATH=$PATH:/usr/local/cuda/bin OMP_WAIT_POLICY=passive
export LAUREL_GOLDEN=${LAUREL_GOLDEN:-$PWD/../shared/golden}
if [ "$device" = cuda ]; then
  nvidia-smi -L 2>/dev/null | grep -q '^GPU' || { echo "gpu.sh: there is no GPU on this machine; --device sim runs this script on the simulator"; exit 77; }
  command -v nvcc >/dev/null || { echo "gpu.sh: there is a GPU but no nvcc, which builds liblaurel_cuda.so"; exit 77; }
fi
out=${out:-$(mktemp -d /tmp/laurel_gpu_XXXXXX)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
folder=$(cd "${built:-.}" && pwd)
[ -n "$built" ] || folder=$PWD/build
export LAUREL_BIN=$folder/laurel LAUREL_BACKENDS=$folder LAUREL_SOURCE=$PWD

# stage NAME COMMAND...: its output goes to a file of that name. What it prints behind "NOTE: " stands in
# the table; a line "SKIP: ..." and success mean that nothing was tested.
table="" failed=0
stage() {
  local name=$1 from=$SECONDS result=ok log=$out/${1// /_}.log note
  shift
  echo "== $name"
  "$@" >"$log" 2>&1 </dev/null || result=FAIL
  note=$(sed -n 's/^NOTE: //p' "$log" | tail -n 1)
  if [ $result = FAIL ]; then
    failed=1
    note="see $log"
    tail -n 20 "$log"
  elif grep -q '^SKIP: ' "$log"; then
    result=skip note=$(sed -n 's/^SKIP: //p' "$log" | tail -n 1)
  fi
  table+=$(printf '%-26s %-5s %5d s  %s' "$name" $result $((SECONDS - from)) "$note")$'\n'
}

build() {
  local targets=(laurel laurel_golden test_ops test_device_attention test_device_decode test_device_cudnn test_device_passes
    test_device_runs test_device_ranks device_worker test_device_curves)
  if [ "$device" = cuda ]; then
    local sm
    sm=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
    cmake --preset release -DLAUREL_CUDA=ON "-DLAUREL_CUDA_ARCHS=$sm" && targets+=(laurel_cuda)
    echo "NOTE: $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1), sm_$sm"
  else
    cmake --preset release && targets+=(laurel_sim_plain)
  fi
  ninja -C build --quiet "${targets[@]}"
}
counted() { # the cmocka program says how many tests passed
  "$@" | tee "$out/counted" || return 1
  echo "NOTE: $(grep -c '^\[       OK' "$out/counted") tests passed"
}
ops() { if [ $quick -eq 1 ]; then counted "$folder"/tests/test_ops "$device" '*norm*'; else counted "$folder"/tests/test_ops "$device"; fi; }
ranks() {
  if [ "$device" = cuda ] && [ "$(nvidia-smi -L | grep -c '^GPU')" -lt 2 ]; then echo "SKIP: one GPU"; return 0; fi
  counted "$folder"/tests/test_device_ranks "$device"
}
golden() {
  [ -d "$LAUREL_GOLDEN" ] || { echo "SKIP: there is no $LAUREL_GOLDEN"; return 0; }
  local which=()
  if [ $quick -eq 1 ]; then which=(--only E1); elif [ "$device" = sim ]; then which=(--skip B2,C,D,F5,G3,G4); fi
  "$folder"/tests/laurel_golden "$LAUREL_GOLDEN" --device "$device" "${which[@]}" | tee "$out/counted" || return 1
  echo "NOTE: $(tail -n 1 "$out/counted")"
}
# The reward model of text on both devices, step by step: losses as far apart as rounding explains.
curve() {
  local dtype=$1 tolerance=$2 steps=20 d
  [ $quick -eq 0 ] || steps=4
  "$folder"/laurel data synth --out "$out/world" --level easy --size 64 --validation 8 --tile 56 || return 1
  for d in cpu "$device"; do
    "$folder"/laurel reward configs/text_reward.yaml model.tokenizer="$out/world/tokenizer.model" \
      model.hidden_size=64 model.intermediate_size=160 model.num_hidden_layers=2 model.dtype="$dtype" \
      data.train="$out/world/arithmetic_train.json" train.batch_size=4 train.max_steps=$steps train.eval_steps=0 \
      train.save_steps=0 train.log_steps=1 train.device="$d" train.output_dir="$out/curve_${dtype}_$d" \
      train.overwrite=true || return 1
  done
  paste <(losses cpu) <(losses "$device") | awk -v most="$tolerance" -v steps="$steps" '
    { d = $1 - $2; d = d < 0 ? -d : d; if (d > worst) worst = d; n++ }
    END {
      printf "NOTE: %d steps, largest difference of the loss %.2g (at most %g)\n", n, worst, most
      exit !(n == steps && worst <= most)
    }'
}
losses() { grep -o '"train/loss": *[^,}]*' "$out/curve_${dtype}_$1/metrics.jsonl" | sed 's/.*: *//'; }
sanitizer() { # tool
  if [ "$device" = sim ]; then echo "SKIP: on the simulator the trace build does it (tests/simt)"; return 0; fi
  command -v compute-sanitizer >/dev/null || { echo "SKIP: compute-sanitizer is not installed"; return 0; }
  compute-sanitizer --tool "$1" --error-exitcode 1 "$folder"/tests/test_ops cuda '*norm*' &&
    compute-sanitizer --tool "$1" --error-exitcode 1 "$folder"/tests/test_device_attention cuda
}
bench() {
  if [ "$device" = sim ]; then
    "$folder"/laurel bench ops device=sim sizes=small only=norm seconds=0 shrink=1024
  else
    "$folder"/laurel bench ops device=cuda
  fi || return 1
  echo "NOTE: the table is $out/bench_ops.log"
}
step() {
  local small=()
  [ "$device" = cuda ] || small=(layers=2 hidden=64 ffn=96 heads=2 kv_heads=1 vocab=97 sequences=2 length=16 steps=2)
  "$folder"/laurel bench step device="$device" dtype=bf16 "${small[@]}" | tee "$out/counted" || return 1
  echo "NOTE: $(grep '^best ' "$out/counted" | tr -s ' ')"
}

generate() {
  local sizes=(layers=4 hidden=4096 ffn=14336 heads=32 kv_heads=8)
  [ "$device" = cuda ] || sizes=(layers=1 hidden=64 ffn=96 heads=2 kv_heads=1 vocab=97 prompt=4 tokens=4 batch=2 repeats=1)
  "$folder"/laurel bench generate device="$device" "${sizes[@]}" | tee "$out/counted" || return 1
  echo "NOTE: $(tail -n 1 "$out/counted" | awk '{ print $3 " tokens/s, batch " $1 ", " $NF " of reading the weights" }')"
}

[ -n "$built" ] || stage "build" build
if [ $failed -eq 0 ]; then
  stage "ops against ref" ops
  [ $quick -eq 1 ] || stage "attention, d 64 and 128" counted "$folder"/tests/test_device_attention "$device"
  [ $quick -eq 1 ] || stage "cuDNN" counted "$folder"/tests/test_device_cudnn "$device"
  [ $quick -eq 1 ] || stage "decoding" counted "$folder"/tests/test_device_decode "$device"
  [ $quick -eq 1 ] || stage "queued ops" counted "$folder"/tests/test_device_passes "$device"
  [ $quick -eq 1 ] || stage "reward trainer" counted "$folder"/tests/test_device_runs "$device"
  [ $quick -eq 1 ] || stage "several ranks" ranks
  stage "golden cases" golden
  stage "loss curve f32" curve f32 1e-3
  stage "loss curve bf16" curve bf16 5e-2
  [ $quick -eq 1 ] || stage "curves of the quickstart" counted "$folder"/tests/test_device_curves "$device"
  stage "memcheck" sanitizer memcheck
  stage "racecheck" sanitizer racecheck
  stage "bench ops" bench
  stage "bench step" step
  stage "bench generate" generate
fi
printf '\n%s' "$table"
[ "$device" = cuda ] || echo "on the simulator: the times say nothing"
echo "logs are in $out"
exit $failed
