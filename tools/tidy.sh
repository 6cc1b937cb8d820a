#!/usr/bin/env bash
# clang-tidy over every C and C++ source in parallel (.clang-tidy says what is checked). A file is
# checked again only when it, a header it includes, its options or .clang-tidy have changed: the build
# folder, which must be up to date, keeps what passed. Usage: tools/tidy.sh [build folder]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
tidy=clang-tidy-14
command -v $tidy >/dev/null || { echo "SKIP: $tidy is not installed"; exit 0; }
cache=$build/tidy
mkdir -p "$cache/passed"

# One command a file: kernels/cpu is compiled for three instruction sets, one of them is enough here,
# and some of kernels/ once more for the tests (tests/kernels/).
awk '/^\{/ { entry = "" } { entry = entry $0 "\n" }
  /^\}/ && entry !~ /laurel_cpu_(generic|avx2)\.dir|-include [^ ]*tests\/kernels/ { sub(/,?\n$/, "", entry); all = all (all == "" ? "" : ",\n") entry }
  END { print "[\n" all "\n]" }' "$build/compile_commands.json" >"$cache/compile_commands.json"

# What this build compiles. clang 14 does not know the CPU feature "avx512bf16" that
# kernels/cpu_backend.c asks for.
sed -n "s|^ *\"file\": \"$PWD/\(.*\)\",*$|\1|p" "$cache/compile_commands.json" | sort -u >"$cache/compiled"
git ls-files -co --exclude-standard '*.c' '*.cc' | grep -v '^kernels/cpu_backend\.c$' | sort | comm -12 - "$cache/compiled" >"$cache/sources"
git ls-files -co --exclude-standard '*.c' '*.cc' '*.h' | xargs sha256sum >"$cache/sums"
settings=$( (sha256sum .clang-tidy tests/.clang-tidy; grep '"command"' "$build/compile_commands.json") | sha256sum)

# source TAB hash of each file of ours that it is made of.
ninja -C "$build" -t deps | awk -v root="$PWD/" '
  FNR == NR { sum[$2] = $1; next }
  /^[^ ]/ { source = ""; next }
  NF == 1 && index($1, root) == 1 {
    file = substr($1, length(root) + 1)
    if (source == "") source = file
    if (!((source, file) in seen) && file in sum) print source "\t" sum[file]
    seen[source, file] = 1
  }' "$cache/sums" - | sort >"$cache/deps"

todo=()
while read -r source; do
  key=$( (echo "$source $settings"; grep -F "$source"$'\t' "$cache/deps" || cat "$cache/sums") | sha256sum | cut -c1-32)
  [ -e "$cache/passed/$key" ] || todo+=("$source:$key")
done <"$cache/sources"
[ ${#todo[@]} -eq 0 ] && exit 0

export tidy build cache
printf '%s\0' "${todo[@]}" | xargs -0 -P "$(nproc)" -n1 bash -c '
  source=${1%:*}
  if out=$($tidy -p "$cache" --quiet --extra-arg=-w "$source" 2>"$cache/errors.$$"); then
    : >"$cache/passed/${1##*:}"
  else
    printf "%s\n" "$out"
    grep -v "warnings\? generated\|warnings\? treated as" "$cache/errors.$$" || true
  fi
  rm -f "$cache/errors.$$"
  [ -e "$cache/passed/${1##*:}" ]' _
