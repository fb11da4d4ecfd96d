# Completion of tokpipe's programs for bash. `make install` installs it under the name of each program; from a checkout:
#     source completion/tokpipe.bash
# Each program's options are one list here: tests/completion.bats compares it with --help.
# SPDX-License-Identifier: AGPL-3.0-or-later
# shellcheck shell=bash

_tokpipe_options() { # PROGRAM: its options, as --help names them
    case $1 in
    tok-encode)
        echo '-m --model -l --lines -0 --null -j --json --chat --template --system --set --continue' \
            '--no-generation-prompt --trust-content --render --template-memory --template-steps --prompt --no-special' \
            '--split-special-tokens -t --threads --offsets --truncate --truncate-side --skip-done --strict --verify' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    tok-decode)
        echo '-m --model -l --lines -0 --null -j --json --special --continue --pieces' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    llm-forward)
        echo '-m --model -t --threads -b --batch -c --context -a --all --hidden --device --precise --chunk --keep' \
            '--kv --kv-type --kv-load --kv-save --listen --engine --idle --stall --group' \
            '--no-return --collect --verify --no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    llm-sample)
        echo '-n --max -T --temp -k --top-k -p --top-p --min-p -s --seed --repetition-penalty --presence-penalty' \
            '--frequency-penalty --logit-bias --ignore-eos --stop-id --stop --defaults -m --model --limit --echo' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    llm-inspect)
        echo '-m --model -k --top-k -j --json --npy --hidden --index --no-sandbox -v --verbose -q --quiet' \
            '-h --help -V --version'
        ;;
    llm-embed)
        echo '-m --model -t --threads -b --batch -c --context -j --json --npy --dtype --dim --pool --normalize' \
            '--no-normalize --truncate --window --precise --listen --engine --verify --no-sandbox -v --verbose -q --quiet' \
            '-h --help -V --version'
        ;;
    llm-score) echo '-j --json --tokens --no-sandbox -v --verbose -q --quiet -h --help -V --version' ;;
    llm-serve)
        echo '-m --model --engine --name --embed -t --threads -p --port --socket -b --batch --max-body --connections' \
            '--idle --any-host --any-model --models --origin --keys --log --log-prompts --record --grace' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    llm-diff) echo '--max --kl --top1 --percentile -j --json --no-sandbox -v --verbose -q --quiet -h --help -V --version' ;;
    st-inspect)
        echo '-m --model -j --json --stats --hash --all --check --values --spec -c --context -t --threads' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    doc-chunk)
        echo '-m --model -n --tokens --overlap --format --with-head --strict' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    vec-index)
        echo '-i --index --records --store --every --missing --prune -l --list' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    vec-faiss)
        echo '-o --output --factory -i --index -k --top-k --vectors --ids --model' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    vec-prefix)
        echo '-i --index -m --model -k --top-k --hybrid --prompt --tokens --template --engine -t --threads' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    vec-search)
        echo '-i --index -k --top-k -j --json --text --hybrid --bm25 --records -t --threads' \
            '--no-sandbox -v --verbose -q --quiet -h --help -V --version'
        ;;
    st-convert) echo '--dtype --keep-quant --pre -f --force -q --quiet --no-sandbox -v --verbose -h --help -V --version' ;;
    st-quantize)
        echo '--type --keep --target-size --stats --no-search --dry-run --shard-size -j --json -t --threads -f --force' \
            '-v --verbose -q --quiet --no-sandbox -h --help -V --version'
        ;;
    esac
}

# Models of the Hugging Face cache, as org/name.
_tokpipe_cached() {
    local hub=${HF_HUB_CACHE:-${HUGGINGFACE_HUB_CACHE:-${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}/hub}} d
    for d in "$hub"/models--*--*; do
        [ -d "$d" ] || continue
        d=${d##*/models--}
        printf '%s\n' "${d/--//}"
    done
}

_tokpipe() {
    local program=${COMP_WORDS[0]##*/} word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]}
    local IFS=$'\n'
    # readline cuts --option=VALUE at the '=': complete VALUE
    [ "$word" != = ] || word=''
    [ "$last" != = ] || last=${COMP_WORDS[COMP_CWORD - 2]}
    COMPREPLY=()
    case $last in
    -m | --model)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$word"; compgen -W "$(_tokpipe_cached)" -- "$word")
        return
        ;;
    --device)
        mapfile -t COMPREPLY < <(compgen -W $'cpu\ncuda\nlist' -- "$word")
        return
        ;;
    --dtype)
        if [ "$program" = llm-embed ]; then
            mapfile -t COMPREPLY < <(compgen -W $'f32\nbf16\ni8' -- "$word")
        else
            mapfile -t COMPREPLY < <(compgen -W $'f32\nf16\nbf16' -- "$word")
        fi
        return
        ;;
    --pool)
        mapfile -t COMPREPLY < <(compgen -W $'cls\nmean\nmax\nlast\nweighted\nmean-sqrt' -- "$word")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W $'text\nmarkdown\nman' -- "$word")
        return
        ;;
    --type)
        mapfile -t COMPREPLY < <(compgen -W $'i8\ni4\ni4_16\ni4_32\nnf4' -- "$word")
        return
        ;;
    --kv-type)
        mapfile -t COMPREPLY < <(compgen -W $'bf16\ni8' -- "$word")
        return
        ;;
    --truncate-side)
        mapfile -t COMPREPLY < <(compgen -W $'left\nright' -- "$word")
        return
        ;;
    --store)
        mapfile -t COMPREPLY < <(compgen -W $'f32\nbf16\ni8' -- "$word")
        return
        ;;
    -i | --index | --records | --verify | --engine | --listen | --kv-load | --kv-save | --check | --npy | --collect | --skip-done | --template)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(IFS=' '; compgen -W "$(_tokpipe_options "$program")" -- "$word")
        return
    fi
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
}

complete -F _tokpipe tok-encode tok-decode llm-forward llm-embed llm-sample llm-inspect llm-score llm-serve llm-diff st-inspect st-convert st-quantize doc-chunk vec-index vec-search vec-prefix vec-faiss
