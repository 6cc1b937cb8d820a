#!/usr/bin/env bash
# Writes docs/config.md from what `laurel COMMAND --help` prints, which is the option table of the
# command. With --check: exits 1 when the file is out of date.
set -euo pipefail
cd "$(dirname "$0")/.."
laurel=${LAUREL_BIN:-build/laurel}
page() {
  echo "# Keys of the commands"
  echo
  echo "Written by \`tools/config-docs.sh\` from the program's option tables; do not edit. A key goes into the"
  echo "YAML file (\`train: {seed: 1}\` and \`train.seed: 1\` are the same) or on the command line (\`train.seed=1\`)."
  local command
  for command in $("$laurel" --help | awk '/^  [a-z]/ { print $1 }'); do
    # Two lines a key: "  key  type [default], unit" and "      help".
    { "$laurel" "$command" --help </dev/null 2>/dev/null || true; } | awk -v command="$command" '
      function cell(text) { gsub(/\|/, "\\|", text); return text }
      /^  [a-z_.0-9]+ +[^ ].*\[.*\]/ {
        key = $1; rest = $0
        sub(/^  [^ ]+ +/, "", rest)
        type = rest; sub(/ \[.*/, "", type)
        value = rest; sub(/^[^[]*\[/, "", value); sub(/\].*/, "", value)
        unit = ""; if (rest ~ /\], /) { unit = rest; sub(/.*\], /, "", unit) }
        getline help; sub(/^ +/, "", help)
        if (!n++) print "\n## laurel " command "\n\n| key | type | default | unit | what |\n|---|---|---|---|---|"
        print "| `" key "` | " cell(type) " | " cell(value) " | " unit " | " cell(help) " |"
      }'
  done
}
if [ "${1:-}" = --check ]; then
  diff -u docs/config.md <(page) || { echo "docs/config.md is out of date: run tools/config-docs.sh"; exit 1; }
else
  page >docs/config.md
fi
