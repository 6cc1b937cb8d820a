#!/usr/bin/env bash
# Every top-level folder has a README of at most a screen, scripts parse and are executable, and the
# tree holds no reminder of unfinished work.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
complain() { echo "$1"; bad=1; }
for folder in $(git ls-files -co --exclude-standard | grep / | grep -v '^\.' | cut -d/ -f1 | sort -u); do
  lines=$([ -e "$folder/README.md" ] && wc -l <"$folder/README.md" || echo 0)
  [ "$lines" -gt 0 ] || complain "$folder/README.md is missing"
  [ "$lines" -le 40 ] || complain "$folder/README.md has $lines lines, more than a screen"
done
for script in $(git ls-files -co --exclude-standard '*.sh' check quickstart .ci/run); do
  bash -n "$script" || bad=1
  [ -x "$script" ] || [ "$script" = .ci/run ] || complain "$script is not executable"
done
if git grep -nwE 'TODO|FIXME|XXX' -- ':!tools/check-notes.sh'; then bad=1; fi
exit $bad
