#!/usr/bin/env bash
# Includes go one way: launch -> train -> model, data -> kernels (docs: README, "Layout"). Prints each
# include that breaks the rule and exits 1.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
deny() { # folder, pattern of forbidden folders
  if grep -rnE "^#include \"($2)/" "$1" --include='*.[ch]' --include='*.cc'; then bad=1; fi
}
deny kernels 'model|data|train|launch|tests'
deny model 'data|train|launch|tests'
deny data 'model|train|launch|tests'
deny train 'launch|tests'
deny launch 'tests'
exit $bad
