#!/usr/bin/env bash
# Installs what building and testing Laurel needs on Debian 12, saying what and why; does nothing when
# everything is there. Uses sudo when not root. No GPU, CUDA toolkit or Python is needed. Arguments are
# further packages, as "name:why".
set -euo pipefail
needs=(
  "gcc:the C compiler" "g++:the C++ compiler, for the SentencePiece shim" "cmake:the build system"
  "ninja-build:runs the build" "pkg-config:finds libraries"
  "libopenmpi-dev:MPI, several ranks"
  "openmpi-bin:mpirun" "libhdf5-dev:checkpoints and packed corpora" "libyaml-dev:configs"
  "libjansson-dev:JSON" "libjpeg62-turbo-dev:JPEG images" "libpng-dev:PNG images"
  "libwebp-dev:WebP images" "libavformat-dev:videos, their containers" "libavcodec-dev:videos, their codecs"
  "libswscale-dev:videos, their colours" "zlib1g-dev:compressed data files"
  "libsentencepiece-dev:the tokenizer" "libxxhash-dev:checksums" "libcmocka-dev:the tests"
  "clang-format-14:style check" "ccache:faster rebuilds"
)
needs+=("$@")
missing=()
for need in "${needs[@]}"; do
  package=${need%%:*}
  if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
    missing+=("$package")
    echo "will install $package (${need#*:})"
  fi
done
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "install-deps: run as root, or install sudo" >&2; exit 1; }
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
