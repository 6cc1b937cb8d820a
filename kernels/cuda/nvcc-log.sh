#!/bin/sh
# Usage: nvcc-log.sh LOG COMMAND...: what ptxas tells of each kernel goes to LOG, all else is shown.
log=$1
shift
"$@" 2>"$log" || { status=$?; cat "$log" >&2; exit $status; }
grep -v '^ptxas\|^ *[0-9]* bytes stack frame\|^$' "$log" >&2 || true
