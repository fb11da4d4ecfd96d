# Sourced by carry.sh and window.sh: what a GPU machine needs of a build.
# shellcheck shell=bash disable=SC2034 # used there
# SPDX-License-Identifier: AGPL-3.0-or-later
programs=(llm-forward llm-sample llm-inspect llm-diff tok-encode tok-decode st-convert st-quantize)
whole_model=(forward prefix) # tests of whole models that take --device, besides goldens
mapfile -t units < <(cd "$(dirname "${BASH_SOURCE[0]}")/../unit" && printf '%s\n' cuda_*.c | sed 's/\.c$//')
units+=(goldens "${whole_model[@]}")
benches=(mkmodel model)
