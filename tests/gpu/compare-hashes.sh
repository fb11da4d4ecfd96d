#!/bin/sh
# Compares what two drivers computed. Each line of a file, as a test of kernels writes them to $CUDA_TEST_HASHES:
#     NAME SHAPE HASH       three words; NAME SHAPE is found once in a file; HASH is of all bytes of the result
# usage: compare-hashes.sh STANDIN GPU       exit 1 where anything differs or is in one file alone
# SPDX-License-Identifier: AGPL-3.0-or-later
export LC_ALL=C
awk -v first="$1" -v second="$2" '
    NF != 3 { bad++; if (bad <= 5) print FILENAME ": not a line NAME SHAPE HASH: " $0; next }
    { key = $1 " " $2 }
    FILENAME == first { if (key in a) { bad++; print first ": twice: " key } a[key] = $3; next }
    {
        if (key in b) { bad++; print second ": twice: " key }
        b[key] = $3
        kind[$1]
        if (!(key in a)) extra++
        else if (a[key] == $3) { same++; alike[$1]++ }
        else { differ++; other[$1]++; if (differ <= 20) print "differs: " key }
    }
    END {
        for (key in a) if (!(key in b)) { missing++; if (missing <= 5) print "not on the second: " key }
        for (k in kind) if (other[k]) printf "%s: %d same, %d differ\n", k, alike[k], other[k]
        printf "= %d same, %d differ, %d and %d on one alone\n", same, differ, missing, extra
        exit differ || missing || extra || bad || !same
    }' "$1" "$2"
