#!/usr/bin/env bats
# The EXAMPLES of every page run on the tiny model, in the page's order: ".Dl" lines and ".Bd -literal" blocks. Where a
# block has lines that begin with "$ ", only those run. The commands of README.md run too.
# SPDX-License-Identifier: AGPL-3.0-or-later
load lib/common

# The commands of a page, a line each, with mdoc's escapes undone.
commands() {
    awk '/^\.Sh /{on = $2 == "EXAMPLES"; next}
         !on {next}
         /^\.Dl /{print substr($0, 5); next}
         /^\.Bd -literal/{lit = 1; n = prompts = 0; next}
         /^\.Ed/{for (i = 0; i < n; i++) if (!prompts || sub(/^\$ /, "", line[i])) print line[i]; lit = 0; next}
         lit {line[n++] = $0; prompts += /^\$ /}' "$1" |
        sed -e 's/^\$ //' -e 's/\\e/\\/g' -e "s/\\\\(aq/'/g" -e 's/\\(dq/"/g' -e 's/\\&//g' -e 's/\\-/-/g'
}

# A folder with the files that the pages name.
setup() {
    cd "$BATS_TEST_TMPDIR"
    cp -r "$DATA/tiny" model
    cp -r model copy
    cp -r model model-f32
    cp model/model.safetensors .
    printf 'The capital of France is' | tee text notes.txt prompt >text.txt
    printf 'One line.\nAnd another line.\n' | tee lines.txt >file.txt
    export LLM_MODEL=$PWD/model
    tok-encode text >ids
    python3 "$ROOT/tests/lib/gguf_tiny.py" make tied SmolLM2-135M-Instruct.Q4_1.gguf
    cp "$ROOT/man/tokens.5" page.1
    cp "$ROOT/README.md" .
    python3 "$ROOT/tests/lib/make_vectors.py" random 9 8 1 >records.vec
    "$ROOT/tests/lib/toy-embedder" "$ROOT" embedder
    mkdir mistral
    cp "$DATA/tokconv/tekken/tekken.json" mistral
}

# The commands of README.md's code blocks that begin with "$ ", but not those that need a person, or real models, with
# which ask-man.bats runs them.
readme_commands() { sed -n 's/^    \$ //p' "$ROOT/README.md" | grep -v -e '^examples/chat' -e '^examples/ask-man'; }

page() { run_all commands "$ROOT/man/$1"; }

# Runs all commands that a function prints. A reader that stops early (head) ends the programs before it with SIGPIPE, so
# 141 counts as 0.
run_all() { # FUNCTION ARGUMENT...
    "$@" >commands
    [ -s commands ]
    {
        echo 'set -o pipefail; exec </dev/null; trap "kill \$(jobs -p) 2>/dev/null" EXIT' # a resident engine
        while IFS= read -r line; do
            [[ $line != *' &' ]] || line+=' for ((i = 0; i < 200; i++)); do [ -S ~/.llm-engine ] && break; sleep 0.05; done'
            printf '%s\nrc=$?; [ $rc -eq 0 ] || [ $rc -eq 141 ] || { printf "exit %%s: %%s\\n" $rc %q; exit 1; }\n' "$line" "$line"
        done <commands
    } >script
    run bash script
    echo "$output"
    [ "$status" -eq 0 ]
}

@test "every page of a program has examples" {
    for p in "$ROOT"/man/*.1; do [ -n "$(commands "$p")" ] || { echo "none in $p"; false; }; done
}

@test "examples of doc-chunk(1)" { page doc-chunk.1; }
@test "examples of st-inspect(1)" { page st-inspect.1; }
@test "examples of st-convert(1)" { page st-convert.1; }
@test "examples of st-quantize(1)" { page st-quantize.1; }
@test "examples of tok-encode(1)" { page tok-encode.1; }
@test "examples of tok-decode(1)" { page tok-decode.1; }
@test "examples of llm-forward(1)" { page llm-forward.1; }
@test "examples of llm-embed(1)" {
    mkdir model/1_Pooling
    echo '{"pooling_mode": "mean"}' >model/1_Pooling/config.json
    echo '[{"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]' >model/modules.json
    echo '{"prompts": {"query": "query: "}}' >model/config_sentence_transformers.json
    page llm-embed.1
}
@test "examples of llm-sample(1)" { page llm-sample.1; }
@test "examples of llm-inspect(1)" { page llm-inspect.1; }
@test "examples of llm-score(1)" { page llm-score.1; }
@test "examples of llm-diff(1)" { page llm-diff.1; }

@test "examples of vec-faiss(1)" {
    command -v vec-faiss >/dev/null || skip "vec-faiss is not built: make faiss"
    page vec-faiss.1
}
@test "examples of vec-index(1)" { page vec-index.1; }
@test "examples of vec-prefix(1)" { page vec-prefix.1; }
@test "examples of vec-search(1)" { page vec-search.1; }

@test "commands of README.md" {
    export HOME=$PWD
    mkdir models
    run_all readme_commands
}
