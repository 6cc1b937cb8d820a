#!/usr/bin/env bash
# What can be held to about the cuda backend without a GPU, in a folder where `laurel_cuda` and
# `laurel_cuda_ptx` are built: no kernel spills registers or keeps arrays in local memory; registers and
# static shared memory are those of docs/kernels/budget.md; kernels bound by memory load and store 16
# bytes at a time; the library links against the real cudart and cuBLASLt and is refused cleanly where
# there is no driver, or only the toolkit's stub of one. Usage: tools/cuda-gates.sh [--write] BUILD; --write
# writes the table of budgets.
set -euo pipefail
cd "$(dirname "$0")/.."
write=0
if [ "${1:-}" = --write ]; then write=1; shift; fi
build=$(cd "${1:-build-cuda}" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc)
failed=0
say() { echo "cuda-gates: $*"; failed=1; }

# ---- what ptxas says: file, kernel, architecture, registers, static shared bytes, local bytes ----
names() { c++filt | sed -E 's/\(anonymous namespace\)::|\(int\)//g; s/__nv_bfloat16/bf16/g; s/ >/>/g'; }
for log in "$build"/kernels/cuda/*.o.log; do
  names <"$log" | awk -v file="$(basename "$log" .o.log)" '
    / Compiling entry function / {
      split($0, part, "\047"); name = part[2]; arch = part[4]
      sub(/^void /, "", name); sub(/\(.*/, "", name); gsub(/, /, ",", name)
    }
    / bytes stack frame/ { local_bytes = $1 > $5 + $9 ? $1 : $5 + $9 }
    / Used [0-9]+ registers/ {
      shared = 0
      for (i = 2; i <= NF; i++) { if ($i == "registers,") regs = $(i - 1); if ($i ~ /^smem/) shared = $(i - 2) }
      print file "\t" name "\t" arch "\t" regs "\t" shared "\t" local_bytes
    }'
done | sort -t$'\t' -k1,3 >"$scratch/used"
[ -s "$scratch/used" ] || { say "ptxas said nothing of $build/kernels/cuda"; exit 1; }

# Kernels that may use local memory, with the reason: NAME<TAB>REASON.
allowed=$'\n'
while IFS=$'\t' read -r file name arch regs shared bytes; do
  if [ "$bytes" -gt 0 ] && ! grep -qF $'\n'"$name"$'\t' <<<"$allowed"; then
    say "$name ($file.cu) keeps $bytes bytes a thread in local memory on $arch: registers spill, or an array is indexed at run time"
  fi
done <"$scratch/used"

# ---- the table ----
# Threads of a block come from the PTX; a multiprocessor has 65536 registers and room for 2048 threads.
cat "$build"/kernels/cuda/*.ptx | names | awk '
  /\.entry / { name = $0; sub(/.*\.entry (void )?/, "", name); sub(/\(.*/, "", name); gsub(/, /, ",", name) }
  /^\.maxntid / { gsub(",", ""); print name "\t" $2 * $3 * $4 }' >"$scratch/threads"
{
  echo "# Registers and shared memory"
  echo
  echo "Written by \`tools/cuda-gates.sh --write\`; \`./check cuda\` fails when it no longer holds. $("$nvcc" --version | sed -nE 's/.*release ([0-9.]+).*/nvcc \1./p')"
  echo "Threads of a block; registers a thread on sm_80 and sm_90; static shared memory of a block in bytes;"
  echo "threads that the registers of a multiprocessor have room for, of 2048, on sm_90."
  echo
  echo "| file | kernel | threads | sm_80 | sm_90 | shared | resident |"
  echo "|---|---|---|---|---|---|---|"
  awk -F'\t' '
    FNR == NR { threads[$1] = $2; next }
    {
      key = $1 "\t" $2
      if (!(key in seen)) { seen[key] = 1; order[++n] = key }
      regs[key, $3] = $4; shared[key] = $5
    }
    END {
      for (i = 1; i <= n; i++) {
        split(order[i], part, "\t")
        t = threads[part[2]]; r = regs[order[i], "sm_90"]
        resident = t == "" ? "" : int(65536 / (int((r + 7) / 8) * 8 * t)) * t
        if (resident > 2048) resident = 2048 - 2048 % t
        printf "| %s | `%s` | %s | %s | %s | %s | %s |\n", part[1], part[2], t, regs[order[i], "sm_80"], r, shared[order[i]], resident
      }
    }' "$scratch/threads" "$scratch/used"
} >"$scratch/budget.md"
table=docs/kernels/budget.md
if [ $write -eq 1 ]; then
  cp "$scratch/budget.md" "$table"
elif [ "$(grep -o 'nvcc [0-9.]*' "$table")" != "$(grep -o 'nvcc [0-9.]*' "$scratch/budget.md")" ]; then
  echo "cuda-gates: $table is of another nvcc; registers are not compared"
elif ! diff -u "$table" "$scratch/budget.md"; then
  say "kernels use other registers or shared memory than $table says; tools/cuda-gates.sh --write, and look at the difference"
fi

# ---- 16-byte loads and stores: kernel, loads and stores that its PTX must have at least ----
cat "$build"/kernels/cuda/*.ptx | names | awk '
  /\.entry / { name = $0; sub(/.*\.entry (void )?/, "", name); sub(/\(.*/, "", name); gsub(/, /, ",", name); n[name] = 0 }
  /ld\.global[a-z.]*\.v4\.[a-z]32/ { loads[name]++ }
  /st\.global[a-z.]*\.v4\.[a-z]32/ { stores[name]++ }
  /ld\.global[a-z.]*\.v2\.[a-z]64/ { loads[name]++ }
  /st\.global[a-z.]*\.v2\.[a-z]64/ { stores[name]++ }
  END { for (k in n) print k "\t" loads[k] + 0 "\t" stores[k] + 0 }' >"$scratch/vectors"
vectors=0
while read -r kernel loads stores; do
  while IFS=$'\t' read -r name l s; do
    vectors=$((vectors + 1))
    if [ "$l" -lt "$loads" ] || [ "$s" -lt "$stores" ]; then
      say "$name loads $l and stores $s words of 16 bytes; at least $loads and $stores are wanted"
    fi
  done < <(grep -E "^$kernel"$'\t' "$scratch/vectors" || say "there is no kernel $kernel" >&2)
done <<'EOT'
rms_fwd<[a-z0-9]+,[0-9]+,[48],[0-9]> 3 2
rms_bwd<[a-z0-9]+,[0-9]+,[48],[0-9]> 4 1
layer_fwd<[a-z0-9]+,[0-9]+,[48],[0-9]> 3 1
layer_bwd<[a-z0-9]+,[0-9]+,[48],[0-9]> 4 1
map_kernel<[48],swiglu_fwd_of<[a-z0-9]+>> 2 1
map_kernel<[48],swiglu_bwd_of<[a-z0-9]+>> 3 2
map_kernel<[48],gelu_of<[a-z0-9]+>> 2 1
map_kernel<[48],add_of<[a-z0-9]+>> 2 1
map_kernel<4,scale_of> 1 1
map_kernel<[48],dropout_of<[a-z0-9]+>> 1 1
map_kernel<4,cast_of<float,[a-z0-9]+>> 1 0
map_kernel<4,cast_of<[a-z0-9]+,float>> 0 1
map_kernel<8,cast_of<bf16,bf16>> 1 1
map_kernel<4,adamw_of<[a-z0-9]+>> 4 3
map_kernel<4,ema_of<float>> 2 1
map_kernel<4,ema_of<bf16>> 1 1
rope<[a-z0-9]+,[48],(true|false)> 4 1
gather<[a-z0-9]+,[48]> 2 1
scatter<[a-z0-9]+,[48]> 1 1
scatter_groups<bf16,bf16,8> 2 1
scatter_groups<bf16,float,4> 1 1
scatter_groups<float,float,4> 2 1
xent<float,512,16> 16 16
xent<bf16,512,16> 16 0
logprob_fwd 1 0
logprob_bwd<float> 1 1
logprob_bwd<bf16> 1 0
sumsq_part 1 0
decode<[a-z0-9]+,[1248]> 8 0
EOT
# ---- the library ----
# Every symbol at once: what it takes from the program, from cudart and from cuBLASLt.
library=$build/liblaurel_cuda.so
if ! LD_PRELOAD=$library LD_BIND_NOW=1 build/laurel --help >/dev/null 2>"$scratch/link"; then
  say "liblaurel_cuda.so does not link: $(head -1 "$scratch/link")"
fi
refused() { # what the only line says: with the library, `laurel bench step device=cuda` must end so
  if LAUREL_BACKENDS=$build build/laurel bench step device=cuda >"$scratch/run" 2>&1 ||
    [ "$(wc -l <"$scratch/run")" -ne 1 ] || ! grep -q "$1" "$scratch/run"; then
    say "device=cuda without a GPU does not end in one line with '$1' but in: $(cat "$scratch/run")"
  fi
}
if ! ldconfig -p | grep -q 'libcuda\.so\.1'; then
  refused "there is no NVIDIA driver on this machine"
  # The toolkit's stub in the driver's place: the library is loaded and asks for devices.
  stub=$(dirname "$(readlink -f "$nvcc")")/../lib64/stubs/libcuda.so
  if [ -e "$stub" ]; then
    ln -s "$(readlink -f "$stub")" "$scratch/libcuda.so.1"
    LD_LIBRARY_PATH=$scratch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} refused "CUDA: "
  fi
fi
echo "cuda-gates: $(cut -f1,2 "$scratch/used" | sort -u | wc -l) kernels, $vectors with 16-byte loads and stores"
exit $failed
