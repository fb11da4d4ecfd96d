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
                 "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}, rules
# What the policy would block, and what would leave the machine.
assert not re.search(r"\son\w+=|\sstyle=|https?://|//\w+\.\w|url\(|@import|<(img|link|iframe|object)\b|eval\(|innerHTML", page), "the page"
assert set(re.findall(r"fetch\(([^,)]*)", page)) == {"'v1/chat/completions'", "'v1/models'"}
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
    void = {"meta", "input", "br"}
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
for needed in ("width=device-width", "prefers-color-scheme: dark", "max-width: 34rem", 'lang="en"', 'role="log"', 'role="status"', ":focus-visible"):
    assert needed in text, needed
EOF
}

@test "the page's script: a chat, alternatives, a fork, the keyboard, errors; its pipeline gives the same bytes" {
    command -v node >/dev/null || skip "node is not installed"
    start
    run node "$BATS_TEST_DIRNAME/lib/page_test.js" "$page" "$port" "$PWD"
    [ "$status" -eq 0 ] && [ "$output" = ok ] || { echo "$output"; return 1; }
    sh ./command >got
    cmp got answer
}

@test "the page in a browser: a screenshot" {
    browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || skip "no Chromium is installed"
    start
    "$browser" --headless --no-sandbox --disable-gpu --window-size=420,800 --virtual-time-budget=5000 \
        --screenshot="$PWD/page.png" "http://127.0.0.1:$port/" 2>browser.err || { cat browser.err; return 1; }
    [ -s page.png ]
    "$browser" --headless --no-sandbox --disable-gpu --virtual-time-budget=5000 --dump-dom "http://127.0.0.1:$port/" 2>/dev/null >dom
    grep -q '<option.*tiny' dom # the script ran under the policy, and asked for the models
    run ! grep -i 'content security policy' browser.err
    base64 page.png # for the log
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
