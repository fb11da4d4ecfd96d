"""A headless Chromium for tests, driven by its DevTools protocol over two pipes.

Messages are JSON with a NUL after each (--remote-debugging-pipe): Chromium reads descriptor 3 and writes
descriptor 4. One page is open. What it logs, what it asks for and what its policy blocks is collected.
Only the standard library is needed.

SPDX-License-Identifier: AGPL-3.0-or-later
"""
import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# No outside request, not even of the browser itself.
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars",
           "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
           "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--force-color-profile=srgb")
KEYS = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35,
        "Backspace": 8, " ": 32}


def find():
    """The path of a Chromium, or None."""
    return next((p for p in map(shutil.which, NAMES) if p), None)


class Chromium:
    def __init__(self, width=1000, height=800):
        self.folder = tempfile.mkdtemp(prefix="chromium.")
        to, self.to = os.pipe()
        self.back, back = os.pipe()
        to, back = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (to, back))  # away from 3 and 4
        path = find()
        log = os.open(os.path.join(self.folder, "stderr"), os.O_WRONLY | os.O_CREAT)
        self.process = os.posix_spawn(
            path, [path, *OPTIONS, f"--user-data-dir={self.folder}/profile", f"--window-size={width},{height}", "about:blank"],
            {**os.environ, "HOME": self.folder}, setpgroup=0,
            file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2),
                          (os.POSIX_SPAWN_DUP2, to, 3), (os.POSIX_SPAWN_DUP2, back, 4)])
        os.close(to)
        os.close(back)
        os.close(log)
        self.rest, self.count, self.session = b"", 0, None
        self.answers, self.problems, self.asked, self.console = {}, [], [], []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.ask(domain + ".enable")
        self.resize(width, height)

    def close(self):
        try:
            os.killpg(self.process, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.process, 0)
        for _ in range(20):  # what its other processes still write
            shutil.rmtree(self.folder, ignore_errors=True)
            if not os.path.exists(self.folder):
                break
            time.sleep(.1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- Messages ----

    def read(self, timeout):
        """Takes messages that have come, after waiting for one."""
        if not select.select([self.back], [], [], timeout)[0]:
            return False
        got = os.read(self.back, 1 << 20)
        if not got:
            raise EOFError("Chromium has ended: " + open(os.path.join(self.folder, "stderr"), errors="replace").read()[-2000:])
        *messages, self.rest = (self.rest + got).split(b"\0")
        for m in messages:
            m = json.loads(m)
            if "id" in m:
                self.answers[m["id"]] = m
            else:
                self.event(m["method"], m["params"])
        return True

    def event(self, method, params):
        if method == "Runtime.exceptionThrown":
            d = params["exceptionDetails"]
            self.problems.append("exception: " + d.get("exception", {}).get("description", d["text"]))
        elif method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded":  # the policy's violations, too
            e = params["entry"]
            self.problems.append(f"{e['source']} {e['level']}: {e['text']} {e.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def ask(self, method, timeout=60, **params):
        self.count += 1
        m = {"id": self.count, "method": method, "params": params}
        if self.session:
            m["sessionId"] = self.session
        os.write(self.to, json.dumps(m).encode() + b"\0")
        end = time.monotonic() + timeout
        while self.count not in self.answers:
            if time.monotonic() > end:
                raise TimeoutError(method)
            self.read(1)
        answer = self.answers.pop(self.count)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    # ---- The page ----

    def open(self, url):
        self.ask("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script):
        """The value of an expression, promises awaited. What `const` of the page's script names is there, too."""
        r = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in r:
            raise RuntimeError(script + ": " + json.dumps(r["exceptionDetails"].get("exception", r["exceptionDetails"])))
        return r["result"].get("value")

    def wait(self, script, seconds=60):
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError("never true: " + script)
            time.sleep(.03)

    def resize(self, width, height, scale=1, mobile=False):
        """scale: device pixels of a CSS pixel. Zoom of 200 % is half the width and scale 2."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def media(self, **features):
        """media(prefers_color_scheme="dark")"""
        self.ask("Emulation.setEmulatedMedia", features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()])

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    # ---- Hands ----

    def place(self, script):
        """The middle of an element's first box, after it was scrolled into view."""
        return self.run(f"(() => {{ const e = {script}; e.scrollIntoViewIfNeeded(); const b = e.getClientRects()[0];"
                        " return [b.left + b.width / 2, b.top + b.height / 2]; })()")

    def move(self, script):
        x, y = self.place(script)
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    def click(self, script):
        x, y = self.move(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def wheel(self, dy, x=300, y=300):
        self.ask("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=dy)

    def write(self, text):
        self.ask("Input.insertText", text=text)

    def key(self, *names, shift=False):
        for name in names:
            code = KEYS.get(name, ord(name[0].upper()))
            text = {"Enter": "\r", " ": " "}.get(name)
            common = {"key": name, "code": "Space" if name == " " else name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
            self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **({"text": text} if text else {}))
            self.ask("Input.dispatchKeyEvent", type="keyUp", **common)
