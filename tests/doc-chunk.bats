#!/usr/bin/env bats
# doc-chunk: sections, limits of tokens, places, ids, man pages, and what is refused.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common

setup() {
    export LLM_MODEL=$DATA/tokenizers/bpe-gpt2 TMPDIR=$BATS_TEST_TMPDIR
    cd "$BATS_TEST_TMPDIR"
}

# Checks of every chunk of FILE: the text is its bytes of the file, the ids differ, no letter of the file is missing, and
# tok-encode finds at most N tokens.
whole() { # N FILE CHUNKS
    tok-encode -j "$3" | grep -v '^#' | awk -v n="$1" 'NF > n { print "line", NR, NF, "tokens"; bad = 1 } END { exit bad }'
    python3 - "$2" "$3" <<'END'
import json, sys
data, chunks = open(sys.argv[1], "rb").read(), [json.loads(l) for l in open(sys.argv[2])]
covered = bytearray(len(data))
for c in chunks:
    part = data[c["from"]:c["to"]]
    assert part.decode("utf-8", "replace") == c["text"], c
    assert c["text"] and c["text"] == c["text"].strip(" \n\t\r\f\v"), c
    covered[c["from"]:c["to"]] = b"\1" * len(part)
left = bytes(b for b, c in zip(data, covered) if not c)
assert not left.strip(), left
assert len({c["id"] for c in chunks}) == len(chunks)
END
}

@test "text, Markdown and a long line: every chunk fits and is a part of the file, and nothing is missing" {
    cp "$ROOT/README.md" "$ROOT/LICENSE" .
    tr '\n' ' ' <LICENSE | head -c 20000 >line
    tr -d ' \n' <LICENSE | head -c 9000 >word
    printf '\xc3\xa9\xe3\x81\x93\xe3\x82\x8c\xe3\x80\x82%.0s' $(seq 300) >cjk.txt
    for file in README.md LICENSE line word cjk.txt; do
        for n in 8 50 256; do
            doc-chunk -n $n $file >chunks
            [ -s chunks ]
            whole $n $file chunks
        done
    done
}

@test "headings of Markdown are sections, with their path; a fence hides them" {
    printf '%s\n' intro '' '# A #' text '## B' '```' '# no heading' '' 'a' '```' '' 'Under' '===' end '#no' '### C' '    # code' >x.md
    doc-chunk x.md >chunks
    [ "$(jq -r .head chunks | paste -sd '|')" = '|A|A > B|Under|Under > C' ]
    [ "$(sed -n 3p chunks | jq -r .text)" = "$(sed -n 5,10p x.md)" ]
    [ "$(sed -n 4p chunks | jq -c '[.from, .text]')" = "[$(grep -b Under x.md | cut -d: -f1),\"Under\\n===\\nend\\n#no\"]" ]
    [ "$(doc-chunk --format text x.md | jq -r .head)" = '' ]
    [ "$(doc-chunk --format markdown - <x.md | jq -r .file | sort -u)" = stdin ]
}

@test "a long section is cut at paragraphs, else at sentences, else at words" {
    printf 'One two three four. Five six.\n\nSeven eight nine ten.\n' >p.txt
    n=$(head -n 1 p.txt | tr -d '\n' | tok-encode | grep -v '^#' | wc -w)
    doc-chunk -n "$((n > 8 ? n : 8))" p.txt | jq -r .text | head -n 1 >first
    [ "$(<first)" = 'One two three four. Five six.' ]
    doc-chunk -n "$((n - 2))" p.txt | jq -r .text | head -n 1 >first
    [ "$(<first)" = 'One two three four.' ]
}

@test "--overlap repeats whole sentences or words, and every byte still comes" {
    cp "$ROOT/LICENSE" .
    doc-chunk -n 100 --overlap 40 LICENSE >chunks
    whole 100 LICENSE chunks
    jq -s '[range(1; length) as $i | select(.[$i].from < .[$i - 1].to)] | length' chunks >n
    [ "$(<n)" -gt 100 ]
    fails 2 "at most half" doc-chunk -n 100 --overlap 51 LICENSE
}

@test "--with-head begins texts with the headings, which count" {
    { printf '# Title of it\n\n'; head -c 3000 "$ROOT/LICENSE"; } >x.md
    doc-chunk -n 60 --with-head x.md >chunks
    tok-encode -j chunks | grep -v '^#' | awk 'NF > 60 { exit 1 }'
    jq -e -s 'length > 3 and all(.text | startswith("Title of it\n\n"))' chunks
}

@test "an id stays when other parts of the file change, and depends on file, head and text" {
    printf 'Same.\n\nSame.\n' >a.txt
    n=8
    doc-chunk -n $n a.txt | jq -r .id >one
    { printf 'A first paragraph that was not there before.\n\n'; cat a.txt; } >b.txt
    mv b.txt a.txt
    doc-chunk -n $n a.txt | jq -r .id >two
    printf 'Same.' >c.txt
    [ "$(sort -u two | wc -l)" -eq "$(wc -l <two)" ]
    [ "$(tail -n 1 one)" = "$(tail -n 1 two)" ]
    [ "$(doc-chunk c.txt | jq -r .id)" != "$(tail -n 1 one)" ]
}

@test "man pages: both languages, sections with the range of their source" {
    cat >m.1 <<'END'
.TH FISH 1
.SH NAME
fish \- swims
.SH DESCRIPTION
It is \fBbold\fR and \fIitalic\fR.
.SS Fins
Two of them.
END
    for page in "$ROOT/man/tokens.5" m.1; do
        doc-chunk -n 1000 "$page" >chunks
        [ -s chunks ]
        run ! grep -P '\x08' chunks
    done
    [ "$(jq -r .head chunks | paste -sd '|')" = 'FISH(1) > NAME|FISH(1) > DESCRIPTION|FISH(1) > DESCRIPTION > Fins' ]
    grep -q 'It is bold and italic' chunks
    from=$(sed -n 2p chunks | jq .from) to=$(sed -n 2p chunks | jq .to)
    [ "$(tail -c +$((from + 1)) m.1 | head -c $((to - from)))" = "$(sed -n 4,5p m.1)" ]
    [ "$(doc-chunk --format man - <m.1 | wc -l)" -eq 3 ]
    printf 'no macro here\n' >n.1
    [ "$(doc-chunk n.1 | jq -r .text)" = 'no macro here' ]
}

@test "a man page brings in no file of the working folder" {
    command -v mandoc >/dev/null || skip "mandoc is not installed"
    mkdir man1 tmp
    echo 'secret words' >secret.txt
    cp secret.txt man1/other.1
    printf '.TH A 1\n.SH NAME\na \\- b\n.so secret.txt\n.so man1/other.1\n.so %s/secret.txt\n' "$PWD" >a.1
    echo 'after it' >after.txt
    TMPDIR=$PWD/tmp doc-chunk a.1 after.txt >out
    if grep -q 'secret words' out; then cat out; false; fi
    grep -q 'after it' out
    [ -z "$(ls -A tmp)" ]
}

@test "without mandoc a man page fails with a word on it, and other files are cut" {
    printf '.TH X 1\n.SH NAME\nx\n' >m.1
    echo text >t.txt
    program=$(command -v doc-chunk)
    fails 71 "mandoc renders man pages, and it is not installed: m.1" env PATH=/nowhere "$program" m.1
    run --separate-stderr env PATH=/nowhere "$program" m.1 t.txt
    [ "$status" -eq 1 ]
    [ "$(jq -r .text <<<"$output")" = text ]
}

@test "empty input gives nothing; what is not UTF-8 is replaced, or refused" {
    [ -z "$(doc-chunk </dev/null)" ]
    [ -z "$(printf ' \n\n \t\n' | doc-chunk)" ]
    printf 'a\xffb\0c' >bad.txt
    doc-chunk bad.txt >chunks
    [ "$(jq -c '[.text, .from, .to]' chunks)" = '["a\ufffdb\u0000c",0,5]' ] || [ "$(jq -c '[.text, .from, .to]' chunks)" = '["a�b\u0000c",0,5]' ]
    fails 65 "invalid UTF-8: byte 1: bad.txt" doc-chunk --strict bad.txt
}

@test "files that cannot be read: one alone has its code, of several the others are cut" {
    echo text >t.txt
    printf '\x1f\x8b\x08' >z.gz
    fails 66 "cannot open nowhere" doc-chunk nowhere
    fails 66 "is a folder" doc-chunk .
    fails 65 "a gzip file" doc-chunk z.gz
    run --separate-stderr doc-chunk nowhere t.txt z.gz
    [ "$status" -eq 1 ]
    [ "$(jq -r .file <<<"$output")" = t.txt ]
    [[ $stderr == *"cannot open nowhere"*"a gzip file"* ]]
}

@test "usage, models, full disks and closed pipes" {
    echo text >t.txt
    fails 2 "-n takes" doc-chunk -n 7 t.txt
    fails 2 "-n takes" doc-chunk -n 99999999999999999999 t.txt
    fails 2 "--format takes" doc-chunk --format pdf t.txt
    fails 66 "" doc-chunk -m nowhere t.txt
    fails 74 "No space left" bash -c 'doc-chunk t.txt >/dev/full'
    yes 'A sentence of words.' | head -c 3000000 >long.txt
    run bash -c 'doc-chunk long.txt | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}'
    [ "$output" = 141 ]
    # A reader that leaves ends it while it waits for input.
    mkfifo in
    sleep 30 >in 3>&- &
    writer=$!
    run timeout 20 bash -c 'doc-chunk <in | true; echo ${PIPESTATUS[0]}'
    kill "$writer" || true
    [ "$output" = 141 ]
}

@test "a line of 200,000 characters is cut in bounded time" {
    head -c 200000 /dev/zero | tr '\0' a >a.txt
    timeout 100 doc-chunk -n 4096 a.txt | jq -s 'map(.to - .from) | add' >n
    [ "$(<n)" -eq 200000 ]
}

@test "a man page with an endless loop ends with an error, and the next document is read" {
    printf '.TH A 1\n.SH NAME\na \\- b\n.while 1 x\n' >loop.1
    printf 'Some text.\n' >next.txt
    run --separate-stderr timeout 300 doc-chunk -m "$DATA/tiny" loop.1 next.txt
    [ "$status" -eq 1 ]
    [[ $stderr == *'mandoc needs more than 5 seconds for the page: loop.1'* ]]
    jq -e '.file == "next.txt"' <<<"$output"
}
