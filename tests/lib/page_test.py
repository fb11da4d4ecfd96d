"""What a reader sees and does on llm-serve's page, in Chromium.

    page_test.py SCENARIO PORT FOLDER

Each scenario is a function below. Screenshots go to FOLDER. A failed check ends with a message and status 1, and so does anything that
the page logs, what its policy blocks, and a request to anywhere but the server.

SPDX-License-Identifier: AGPL-3.0-or-later
"""
import json
import os
import subprocess
import sys
import time
import urllib.request

from chromium import Chromium

# Right to left, marks, emoji of several code points, overrides, control characters, no place to break, tabs, HTML.
HOSTILE = ("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd, \u0627\u0644\u0639\u0631\u0628\u064a\u0629 \U0001f99c \U0001f469\u200d\U0001f469\u200d\U0001f467 "
           "\u202eevil\u202c \x07\x1b[31m e\u0301 Z\u0335\u0321 " + "wide" * 60 + "\n\n\tTab <b>bold</b> &amp; \u65e5\u672c\u8a9e")
LONG = 5000  # words, more than the model takes
LAST = "messages[messages.length - 1]"
TOKENS = "document.querySelectorAll('#chat .assistant:last-of-type .t')"
# A token with an alternative that is text, and that alternative's number in the list.
FORKABLE = f"""(() => {{
  for (const [i, c] of {LAST}.cells.entries()) {{
    const k = i < 2 || c.special ? -1 : c.tokens[0].top.findIndex(a => a.token !== c.name && whole(a.bytes) !== null && !isSpecial(a.token));
    if (k >= 0) return [i, k];
  }}
}})()"""


class Page(Chromium):
    def __init__(self, port, folder, width=1000, height=800):
        super().__init__(width, height)
        self.url, self.shots, self.port = f"http://127.0.0.1:{port}/", folder, port
        self.open(self.url)
        self.wait("models.length > 0 || $('status').textContent")

    def shot(self, name):
        self.screenshot(os.path.join(self.shots, name + ".png"))

    def set(self, **values):
        for name, value in values.items():
            self.run(f"$({json.dumps(name)}).value = {json.dumps(str(value))}")

    def send(self, text, wait=True):
        self.click("$('input')")
        self.write(text)
        self.key("Enter")
        if wait:
            self.wait("running === null")

    def endless(self):
        """Answers that do not end by themselves, by a field that the page does not offer."""
        self.run("""(() => {
          const plain = window.fetch;
          window.fetch = (path, o) => plain(path, o && o.body && path.includes('chat') ? {...o, body: JSON.stringify({...JSON.parse(o.body), ignore_eos: true})} : o);
          models[0].sampling.ignore_eos = true;
        })()""")

    def check(self, script, message=""):
        assert self.run(f"Boolean({script})"), f"{message or script}: {self.run(f'JSON.stringify(messages.map(m => [m.role, m.content]))')}"

    def fits(self):
        assert self.run("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"

    def clean(self, allowed=()):
        """No error of the page, nothing blocked, and nobody else asked."""
        bad = [p for p in self.problems if " verbose: " not in p and not any(a in p for a in allowed)]
        assert not bad and not self.console, (bad, self.console)
        foreign = [u for u in self.asked if not u.startswith((self.url, "data:"))]
        assert not foreign, foreign


def metric(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as r:
        return next(int(line.split()[1]) for line in r.read().decode().splitlines() if line.startswith("tokpipe:" + name + " "))


def run_pipeline(command):
    return subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, check=True, timeout=120).stdout.decode()


def chat(page):
    """Shades, alternatives under the mouse, a fork, the pipeline, the cached part of the prompt."""
    page.shot("empty")
    page.check("!$('empty').hidden && $('model').options.length === 1")
    page.set(max_tokens=40, temperature=0.8, seed=5)
    page.send("Hello 'you' \\ there\nA second line")
    page.check("messages.length === 2 && messages[1].role === 'assistant' && messages[1].finish")
    page.check("$('empty').hidden")
    page.check(f"{TOKENS}.length === messages[1].cells.length && messages[1].cells.length > 5")
    page.check("messages[1].count === messages[1].usage.completion_tokens")
    page.check("messages[1].cells.map(c => c.text).join('') === messages[1].content", "the cells are the answer")
    page.check(f"new Set([...{TOKENS}].map(e => getComputedStyle(e).backgroundColor)).size > 2", "several shades are seen")
    page.shot("answer")

    first = page.run("pipeline(messages[1])"), page.run("messages[1].content")
    page.click("document.querySelector('.meta button')")
    page.check(f"$('dialog').open && $('command').textContent === pipeline(messages[1])")
    page.shot("pipeline")
    page.key("Escape")
    page.check("!$('dialog').open")
    assert run_pipeline(first[0]) == first[1], "the pipeline gives other bytes"

    i, k = page.run(FORKABLE)
    page.move(f"{TOKENS}[{i}]")
    page.wait("!$('popup').hidden && opened && !opened.held")
    page.check(f"$('popup').querySelectorAll('button').length >= 8 && {TOKENS}[{i}].getAttribute('aria-expanded') === 'true'")
    page.shot("alternatives")
    page.move("$('send')")
    page.wait("$('popup').hidden")
    page.move(f"{TOKENS}[{i}]")
    page.wait("opened")
    prefix, text = page.run(f"[{LAST}.cells.slice(0, {i}).map(c => c.text).join(''), {LAST}.cells[{i}].tokens[0].top[{k}].token]")
    page.click(f"$('popup').querySelectorAll('button')[{k}]")
    page.wait("running === null")
    page.check(f"messages.length === 2 && messages[1].content.startsWith({json.dumps(prefix + text)})", "the fork has the alternative")
    page.check(f"messages[1].cells[{i}].forced && messages[1].cells.length > {i + 1}")
    page.check(f"document.querySelectorAll('.forced').length === 1 && $('popup').hidden")
    fork = page.run("pipeline(messages[1])"), page.run("messages[1].content")
    assert fork[1] != first[1] and run_pipeline(fork[0]) == fork[1], "the fork's pipeline gives other bytes"

    page.set(max_tokens=10, system="Be brief.")
    page.send("word " * 90)
    page.click("document.querySelector('#chat article:last-child summary')")
    page.wait("document.querySelector('details[open] .text').textContent !== '…'")
    cached, whole = page.run("[document.querySelector('details[open] .cached').textContent, document.querySelector('details[open] .text').textContent]")
    assert "Be brief." in whole and "word word" in whole
    page.click("[...document.querySelectorAll('#chat article:last-child .meta button')].find(b => b.textContent === 'Again')")
    page.wait("running === null")
    page.check("$('seed').value === '6' && messages.length === 4")
    page.check(f"{LAST}.usage.prompt_tokens_details.cached_tokens >= 64", "the same prompt again is cached")
    page.click("document.querySelector('#chat article:last-child summary')")
    page.wait("document.querySelector('details[open] .text .cached')")
    cached = page.run("document.querySelector('details[open] .text .cached').textContent")
    assert len(cached) > 64 and whole.startswith(cached), "the cached part is marked"
    page.shot("cached")

    page.media(prefers_color_scheme="dark")
    page.shot("dark")
    page.click("$('fresh')")
    page.check("messages.length === 0 && !$('empty').hidden && $('chat').children.length === 0")
    page.clean()


def special(page):
    """The token that ends an answer, and an answer that is ended at an alternative."""
    page.set(max_tokens=200, temperature=1)
    for seed in range(1, 30):
        page.set(seed=seed)
        page.click("$('fresh')")
        page.send("Hi")
        if page.run(f"{LAST}.finish === 'stop'"):
            break
    else:
        raise AssertionError("no answer ended by itself")
    page.check(f"{LAST}.cells[{LAST}.cells.length - 1].special && {LAST}.cells.map(c => c.text).join('') === {LAST}.content")
    page.check("document.querySelectorAll('.special').length >= 1")
    assert run_pipeline(page.run(f"pipeline({LAST})")) == page.run(f"{LAST}.content")
    # By hand: an end in place of the second token.
    page.run(f"fork({LAST}, 1, {{token: '<|end|>', logprob: -1}})")
    page.check(f"running === null && {LAST}.cells.length === 1 && {LAST}.content === {LAST}.cells[0].text")
    page.clean()


def cells(page):
    """Characters of several tokens, bytes that are none, SentencePiece's first space, special tokens: as events bring them."""
    for name, events, want in (
            ("emoji", [["\U0001f99c", [[240, 159], [166], [156]]]], [["\U0001f99c", 3, False]]),
            ("two", [["a\u00e9", [[97], [195], [169]]]], [["a", 1, False], ["\u00e9", 2, False]]),
            ("broken", [["\ufffdN", [[232, 170], [78]]]], [["\ufffdN", 2, False]]),
            ("late", [[" ", [[32, 208]]], ["\ufffd\u0651", [[217, 145]]]], [[" ", 1, False], ["\ufffd\u0651", 1, False]]),
            ("space", [["Hi", [[32, 72, 105]]], [" you", [[32, 121, 111, 117]]]], [["Hi", 1, False], [" you", 1, False]]),
            ("end", [["Yes", [[89, 101, 115]]], ["", [[60, 124, 101, 124, 62]]]], [["Yes", 1, False], ["", 1, True]]),
            ("end after half", [["a\ufffd", [[97], [195], [60, 124, 101, 124, 62]]]], [["a", 1, False], ["\ufffd", 1, False], ["", 1, True]]),
            ("end between", [["a", [[97, 232]]], ["\ufffdN", [[60, 124, 101, 124, 62], [78]]]], [["a", 1, False], ["", 1, True], ["\ufffdN", 1, False]]),
            ("end at once", [["Yes", [[89, 101, 115], [60, 124, 101, 124, 62]]]], [["Yes", 1, False], ["", 1, True]])):
        got = page.run(f"""(() => {{
          const m = {{cells: []}};
          for (const [text, tokens] of {json.dumps(events)}) addCells(m, text, tokens.map(bytes => ({{bytes, token: bytes[0] === 60 ? '<|e|>' : '?', logprob: -1, top_logprobs: []}})));
          return m.cells.map(c => [c.text, c.tokens.length, c.special]);
        }})()""")
        assert got == want, (name, got)
    assert page.run("[0, -0.3, -1, -2, -3, -9].map(shade)") == [0, 1, 2, 3, 4, 5]
    assert page.run(r"visible(' a\n\u202e\u0000')") == "·a↵⟨202E⟩⟨0000⟩" and page.run("visible('')") == "∅"
    assert page.run(r"quote(`it's`)") == r"'it'\''s'"
    page.clean()


def keyboard(page):
    """Everything without a mouse; what a screen reader is told."""
    page.set(max_tokens=60)
    page.check("document.activeElement === $('input')")
    page.write("Hi")
    page.key("Enter")
    page.wait("running === null")
    page.check("document.activeElement === $('input')")
    order = []
    for _ in range(12):
        page.key("Tab")
        order.append(page.run("document.activeElement.id || document.activeElement.className || document.activeElement.textContent"))
        page.check("document.activeElement === document.body || getComputedStyle(document.activeElement.id === 'input' ? $('box') : document.activeElement)"
                   "[document.activeElement.id === 'input' ? 'boxShadow' : 'outlineStyle'] !== 'none'", f"no visible focus on {order[-1]}")
    at = order.index("model")
    assert order[at:at + 5] == ["model", "toggle", "fresh", "text", "As a pipeline"], order
    assert "input" in order and "send" in order, order
    page.run("document.querySelector('.assistant .text').focus()")
    page.key("ArrowRight", "ArrowRight", "ArrowRight")
    page.check(f"document.activeElement === {TOKENS}[2] && document.activeElement.getAttribute('role') === 'button'")
    page.check("/, [<0-9.]+ %$/.test(document.activeElement.getAttribute('aria-label'))")
    page.key("ArrowLeft")
    page.check(f"document.activeElement === {TOKENS}[1] && !{TOKENS}[2].hasAttribute('role')")
    page.key("ArrowDown")
    page.check(f"[...{TOKENS}].indexOf(document.activeElement) > 2", "Down is the next line")
    page.key("ArrowUp")
    page.key("End")
    page.check(f"document.activeElement === {TOKENS}[{TOKENS}.length - 1]")
    page.key("Home")
    i, k = page.run(FORKABLE)
    page.key(*["ArrowRight"] * i)
    page.key("Enter")
    page.check("!$('popup').hidden && opened.held && document.activeElement.closest('#popup')")
    page.key("Escape")
    page.check(f"$('popup').hidden && document.activeElement === {TOKENS}[{i}]")
    page.key("Enter", "Home")
    before = page.run("document.activeElement.textContent")
    page.key("ArrowDown")
    assert page.run("document.activeElement.textContent") != before
    page.key("ArrowUp")
    page.shot("keyboard")
    page.key("Tab")
    page.check("$('popup').hidden && !document.activeElement.closest('#popup')")
    page.run(f"focusToken({TOKENS}[{i}])")
    old = page.run(f"{LAST}.content")
    page.key("Enter", "Home")
    if page.run("document.activeElement.getAttribute('aria-checked') === 'true'"):
        page.key("ArrowDown")
    page.key("Enter")
    page.wait("running === null && opened === null")
    assert page.run(f"{LAST}.content") != old
    page.check(f"{LAST}.cells[{i}].forced || {LAST}.cells.length === {i}")

    # An answer is read as one text when it is complete; its tokens are no live region.
    page.check("!$('chat').closest('[aria-live], [role=log], [role=status]')")
    page.check(f"$('say').getAttribute('role') === 'status' && $('say').textContent.includes({LAST}.content)")
    tree = page.ask("Accessibility.getFullAXTree")["nodes"]
    named = {(n["role"]["value"], n.get("name", {}).get("value")) for n in tree if not n.get("ignored")}
    for one in (("combobox", "Model"), ("textbox", "Message"), ("button", "Send"), ("button", "Settings"), ("region", "Conversation"), ("group", "Answer")):
        assert one in named, (one, named)
    assert not any(role in ("button", "textbox", "combobox", "spinbutton") and not name for role, name in named), "a control without a name"
    page.key("Escape")
    page.clean()


CONTRAST = """(() => {
  const rgba = s => { const n = s.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const light = c => { const [r, g, b] = c.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const text = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.matches('input, textarea') || e.dataset.name;
    if (!text || e.matches('script, style, option, .hide, :disabled') || !e.getClientRects().length) continue;
    const chain = [];
    for (let p = e; p; p = p.parentElement) chain.unshift(p);
    const back = chain.reduce((b, p) => over(rgba(getComputedStyle(p).backgroundColor), b), [255, 255, 255, 1]);
    for (const style of e.placeholder ? [getComputedStyle(e), getComputedStyle(e, '::placeholder')] : [getComputedStyle(e)]) {
      const [a, b] = [light(over(rgba(style.color), back)), light(back)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
      if (ratio < 4.5) bad.push([e.tagName, e.className, ratio]);
    }
  }
  return bad;
})()"""


def shapes(page):
    """Narrow screens, zoom, both schemes with enough contrast, no motion for those who want none, hostile text."""
    page.resize(360, 740, 1, True)
    page.fits()
    page.shot("narrow-empty")
    page.set(max_tokens=80)
    page.send(HOSTILE)
    page.fits()
    page.check("messages[0].content === " + json.dumps(HOSTILE), "the text is sent as it is")
    page.check(r"!/[\x00-\x08\x0b-\x1f\u202a-\u202e]/.test($('chat').textContent)", "control characters are shown, not obeyed")
    page.check("getComputedStyle(document.querySelector('.user .text')).direction === 'rtl' && !$('chat').querySelector('b')")
    page.click(f"{TOKENS}[1]")
    page.wait("opened && opened.held")
    page.fits()
    page.shot("narrow-alternatives")
    page.key("Escape")
    page.click("$('toggle')")
    page.fits()
    page.shot("narrow-settings")
    for width, height, scale in ((320, 256, 1), (500, 400, 2), (1000, 800, 1), (2500, 1200, 1)):
        page.resize(width, height, scale)
        page.fits()
    page.resize(500, 400, 2)
    page.shot("zoom-200")
    page.resize(1000, 800)
    for scheme in ("light", "dark"):
        page.media(prefers_color_scheme=scheme)
        page.click("$('toggle')")
        page.click(f"{TOKENS}[1]")
        page.wait("opened")
        page.run("for (const [i, e] of [..." + TOKENS + "].entries()) e.className = 't s' + i % 6")  # each shade
        bad = page.run(CONTRAST)
        assert not bad, (scheme, bad)
        page.shot("shades-" + scheme)
        page.key("Escape")
    page.media(prefers_reduced_motion="reduce")
    page.check("(() => { const e = document.querySelector('.assistant .text'); e.classList.add('running');"
               " return getComputedStyle(e, '::after').animationName === 'none'; })()")
    page.clean()


def stop(page):
    """A long answer: the page follows it, and does not where somebody reads above; Stop ends it at the server."""
    page.resize(800, 500)
    page.set(max_tokens=1000000, temperature=1)
    page.endless()
    page.send("Go on", wait=False)
    page.wait("messages.length === 2 && messages[1].drawn > 150")
    page.check("running !== null && $('send').hidden && !$('stop').hidden")
    page.check("atEnd() && document.documentElement.scrollHeight > innerHeight", "the page follows")
    page.wheel(-400)
    page.wait("!follow")
    y = page.run("scrollY")
    count = page.run("messages[1].drawn")
    page.wait(f"messages[1].drawn > {count} + 50")
    assert abs(page.run("scrollY") - y) <= 2, "the page stays where the reader is"
    page.wait("!$('latest').hidden")
    page.shot("reading-above")
    page.click("$('latest')")
    page.wait("follow && atEnd()")
    assert metric(page.port, "num_requests_running") == 1
    left = metric(page.port, "requests_left_total")
    page.click("$('stop')")
    end = time.monotonic() + 30
    while metric(page.port, "num_requests_running") != 0:  # which does not end by itself for longer
        assert time.monotonic() < end, "the answer still runs"
    assert metric(page.port, "requests_left_total") == left + 1
    page.wait("running === null")
    page.check("messages[1].finish === 'stopped' && messages[1].cells.length > 100 && !$('send').hidden && document.activeElement === $('input')")
    got, want = run_pipeline(page.run("pipeline(messages[1])")), page.run("messages[1].content")
    assert got == want, ("what came before the stop", len(os.path.commonprefix([got, want])), len(got), len(want), got[-20:], want[-20:])
    page.send("And more", wait=False)
    page.wait("messages[3] && messages[3].count > 20")
    page.key("Escape")
    page.wait("running === null")
    page.check("messages[3].finish === 'stopped'")
    page.clean()


def errors(page):
    """A setting that is no number, a prompt that is too long, too many answers (-b 1)."""
    page.set(temperature="-1")
    page.send("Hello")
    page.check("messages.length === 0 && !$('settings').hidden && document.activeElement === $('temperature') && $('input').value === 'Hello'")
    page.shot("bad-setting")
    page.set(temperature=1, input="")
    page.send("long " * LONG)
    page.check("messages.length === 2 && messages[1].role === 'error'")
    page.check("/context|long|tokens/.test(document.querySelector('.error p').textContent)")
    page.shot("too-long")
    page.set(max_tokens=20)
    page.send("short")
    page.check("messages.length === 2 && messages[0].content === 'short' && messages[1].role === 'assistant'", "the next message is no sequel of one that failed")
    other = urllib.request.Request(page.url + "v1/completions", json.dumps({"prompt": "a", "max_tokens": 100000, "stream": True, "ignore_eos": True}).encode(),
                                   {"Content-Type": "application/json"})
    with urllib.request.urlopen(other) as r:
        r.readline()
        page.send("while another is answered")
        page.check("/too many answers/.test($('chat').textContent) && /again in 1 s/.test($('chat').textContent)")
    while metric(page.port, "num_requests_running"):
        time.sleep(.02)
    page.click("document.querySelector('.error button')")
    page.wait("running === null")
    page.check("messages.length === 4 && messages[3].role === 'assistant'", "Try again")
    page.clean(allowed=("400 (Bad Request)", "429 (Too Many Requests)"))


def key(page):
    """A server that wants a key."""
    page.check("!$('settings').hidden && document.activeElement === $('key')")
    page.check("/needs a key/.test($('status').textContent) && $('model').options.length === 0")
    page.shot("key")
    page.write("secret-a")
    page.key("Enter")
    page.wait("models.length === 1")
    page.set(max_tokens=10)
    page.send("Hello")
    page.check("messages.length === 2 && messages[1].role === 'assistant'")
    page.check("!document.cookie && !localStorage.length && !sessionStorage.length", "the key is stored nowhere")
    page.clean(allowed=("401 (Unauthorized)",))


def gone(page):
    """The engine ends (its process is in ENGINE) while it answers; then the server does (SERVER)."""
    page.set(max_tokens=100000)
    page.endless()
    page.send("Go on", wait=False)
    page.wait("messages[1] && messages[1].count > 10")
    os.kill(int(os.environ["ENGINE"]), 9)
    page.wait("running === null")
    page.check("messages.length === 3 && messages[2].role === 'error' && messages[1].finish === 'failed' && messages[1].content", "what came is still there")
    page.shot("engine-gone")
    page.send("Anybody?")
    page.check("messages[messages.length - 1].role === 'error' && /engine/.test(messages[messages.length - 1].content)")
    os.kill(int(os.environ["SERVER"]), 9)
    page.wait("ask('health').then(() => false, () => true)")
    page.click("document.querySelector('.error button')")
    page.wait("running === null && /does not answer/.test($('chat').textContent)")
    page.clean(allowed=("503 (Service Unavailable)", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"))


def main():
    name, port, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    with Page(port, folder) as page:
        try:
            globals()[name](page)
        except BaseException:
            page.shot("failed-" + name)
            raise


if __name__ == "__main__":
    main()
