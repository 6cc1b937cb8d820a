#!/usr/bin/env bash
# Every header stands alone as C++17, because .cu files and the simulator include them; those of
# kernels/ and model/ also declare C linkage. Left out: headers that only their own .c files include.
set -euo pipefail
cd "$(dirname "$0")/.."
private='^(tests/|kernels/(cpu/|ref/|onednn/|check\.h)|data/corpus_columns\.h)|_impl\.h$'
headers=$(git ls-files -co --exclude-standard '*.h' | grep -vE "$private")
bad=0
for header in $(grep -E '^(kernels|model)/' <<<"$headers"); do
  if grep -qE '^[a-z].*\(.*;' "$header" && ! grep -q 'extern "C"' "$header"; then
    echo "$header: no extern \"C\""
    bad=1
  fi
done
xargs -P "$(nproc)" -I{} bash -c 'echo "#include \"{}\"" |
  g++ -std=c++17 -fsyntax-only -Wall -Wextra -Wpedantic -Werror -D_GNU_SOURCE -I. -x c++ -' \
  <<<"$headers" || bad=1
exit $bad
