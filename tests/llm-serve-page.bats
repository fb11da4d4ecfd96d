#!/usr/bin/env bats
# llm-serve: the page at / and the description of the API at /openapi.json.
# SPDX-License-Identifier: AGPL-3.0-or-later
bats_require_minimum_version 1.5.0
load lib/common
load lib/serve

page=$ROOT/common/serve/page.html

@test "the page: one file under 40 KB that asks nobody else, with a strict policy" {
    start
    curl -s -D head "http://127.0.0.1:$port/" >got
    cmp got "$page"
    [ "$(wc -c <"$page")" -lt 40960 ]
    tr -d '\r' <head >lines
    grep -qix 'content-type: text/html; charset=utf-8' lines
    grep -qix 'referrer-policy: no-referrer' lines
    python3 - lines <<'EOF'
import base64, hashlib, re, sys
head, page = open("lines").read(), open("got").read()
policy = re.search(r"(?i)^content-security-policy: (.*)$", head, re.M).group(1)
rules = dict(r.split(" ", 1) for r in policy.split("; "))
def digest(tag):
    inner = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
    assert len(inner) == 1, tag
    return "'sha256-" + base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode() + "'"
assert rules == {"default-src": "'none'", "script-src": digest("script"), "style-src": digest("style"), "connect-src": "'self'",
                 "img-src": "data:", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}, rules
# What the policy would block, and what would leave the machine.
assert re.findall(r'<link [^>]*?href="(.{5})', page) == ["data:"] and page.count("<link ") == 1
assert not re.search(r"\son\w+=|\sstyle=|https?://|//\w+\.\w|url\(|@import|<(img|iframe|object)\b|eval\(|innerHTML", page), "the page"
assert set(re.findall(r"\b(?:ask|post|fetch)\(('[^']*'|\w+)", page)) == {"'v1/chat/completions'", "'v1/models'", "'tokenize'", "path"}
EOF
}

@test "the page: labels, a viewport, narrow screens, both colour schemes" {
    python3 - "$page" <<'EOF'
import html.parser, sys
text = open(sys.argv[1]).read()
class P(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.bare, self.labels = [], [], [], 0
    void = {"meta", "input", "br", "link"}
    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if "id" in a:
            self.ids.append(a["id"])
        if tag in ("input", "textarea", "select") and "aria-label" not in a and "label" not in self.open:
            self.bare.append(a)
        if tag not in self.void:
            self.open.append(tag)
    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
p = P()
p.feed(text)
assert not p.open and not p.bare, (p.open, p.bare)
assert len(p.ids) == len(set(p.ids))
for needed in ("width=device-width", "prefers-color-scheme: dark", "prefers-reduced-motion", "max-width: 34rem", 'lang="en"', 'role="status"', ":focus-visible"):
    assert needed in text, needed
EOF
}

# One scenario of tests/lib/page_test.py. Screenshots are in build/page, and in this test's log there is where.
look() { # SCENARIO
    ENGINE=$engine SERVER=$server python3 "$BATS_TEST_DIRNAME/lib/page_test.py" "$1" "$port" "$ROOT/${BUILD:-build}/page"
}
need_browser() { (cd "$BATS_TEST_DIRNAME/lib" && python3 -c 'import chromium, sys; sys.exit(not chromium.find())') || skip "Chromium is not installed"; }

# The model with a longer context, for answers that last.
long_context() { # POSITIONS
    rm tiny
    cp -rL "$DATA/tiny" tiny
    sed -i 's/"max_position_embeddings": 512/"max_position_embeddings": '"$1"/ tiny/config.json
    export LLM_MODEL=$PWD/tiny # for the pipelines
}

@test "the page in Chromium: shades, alternatives, a fork, the cached prompt; its pipelines give the same bytes" {
    need_browser
    start
    look chat
    ls "$ROOT/${BUILD:-build}/page/"{empty,answer,alternatives,pipeline,cached,dark}.png
}

@test "the page in Chromium: the keyboard, focus, and what a screen reader is told" {
    need_browser
    start
    look keyboard
}

@test "the page in Chromium: 360 pixels, zoom, both schemes' contrast, hostile text, no motion" {
    need_browser
    start
    look shapes
}

@test "the page in Chromium: tokens that are parts of characters, and those that end an answer" {
    need_browser
    start
    look cells
    look special
}

@test "the page in Chromium: it follows a fast answer; Stop ends it at the server" {
    need_browser
    long_context 1000000 # which a fast machine does not reach before the stop
    start
    look stop
}

@test "the page in Chromium: bad settings, a long prompt, 429" {
    need_browser
    long_context 4096
    start -b 1
    look errors
}

@test "the page in Chromium: an engine and a server that end" {
    need_browser
    long_context 32768 # an answer that has not ended before the engine is killed
    start
    look gone
    engine='' server=''
}

@test "the page in Chromium: a server that wants a key" {
    need_browser
    echo "alice $(printf %s secret-a | b2sum -l 256 | cut -d ' ' -f 1)" >keys
    start --keys keys
    look key
}

@test "/tokenize of a chat gives the prompt's ids and their texts" {
    start
    good /tokenize '{"messages": [{"role": "user", "content": "Hi \ud83e\udd9c"}]}' >out
    jq -e '.count == (.tokens | length) and .count == (.token_strs | length)' out
    jq -ej '.token_strs | join("")' out >text
    printf '<|user|>Hi \360\237\246\234<|end|><|assistant|>' | cmp - text
    [ "$(good /v1/messages/count_tokens '{"messages": [{"role": "user", "content": "Hi \ud83e\udd9c"}]}' | jq .input_tokens)" = "$(jq .count out)" ]
    good /v1/completions "{\"prompt\": $(jq -c .tokens out), \"max_tokens\": 4, \"temperature\": 0}" | jq -j '.choices[0].text' >text
    good /v1/chat/completions '{"messages": [{"role": "user", "content": "Hi \ud83e\udd9c"}], "max_tokens": 4, "temperature": 0}' | jq -j '.choices[0].message.content' | cmp - text
    refused 400 messages 'messages' /tokenize '{"messages": 5}'
    refused 400 nonsense 'nonsense' /tokenize '{"messages": [], "nonsense": 1}'
}

@test "/openapi.json has every route, every field, and answers that fit" {
    start
    curl -s "http://127.0.0.1:$port/openapi.json" | cmp - "$ROOT/common/serve/openapi.json"
    python3 "$BATS_TEST_DIRNAME/lib/openapi_test.py" "$ROOT" "$port"
}

@test "a field or a route that the description lacks is found" {
    start
    mkdir -p copy/common/serve
    cp "$ROOT"/common/serve/{routes.c,body_fields.c,openapi.json} copy/common/serve
    sed -i 's|{"top_k", BODY_PARAM|{"top_z", BODY_PARAM, ALL, NULL},\n    &|' copy/common/serve/body_fields.c
    run python3 "$BATS_TEST_DIRNAME/lib/openapi_test.py" copy "$port"
    [ "$status" -eq 1 ] && [[ $output == *"top_z"* ]]
    cp "$ROOT/common/serve/body_fields.c" copy/common/serve
    sed -i 's|{"GET", "/health"|{"GET", "/planted", 0, NULL, serve_health},\n    &|' copy/common/serve/routes.c
    run python3 "$BATS_TEST_DIRNAME/lib/openapi_test.py" copy "$port"
    [ "$status" -eq 1 ] && [[ $output == *"/planted"* ]]
}
