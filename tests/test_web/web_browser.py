"""A headless Chromium, driven by its DevTools protocol through a pair of pipes.

JSON messages end in NUL.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path

import uvicorn

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-pipe",
]
KEYS = {
    "Tab": (9, ""),
    "Enter": (13, "\r"),
    " ": (32, " "),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
    "End": (35, ""),
}


class Browser:
    """A chromium process; ``call`` sends a command and waits for its answer."""

    def __init__(self, profile: Path):
        child_in, mine_out = os.pipe()
        mine_in, child_out = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (child_in, child_out)]
        self.process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash"),
                *(CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"),
            ],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (child_in, child_out, *theirs):
            os.close(end)
        self.out, self.came = os.fdopen(mine_out, "wb", 0), os.fdopen(mine_in, "rb")
        self.answers: queue.Queue[dict] = queue.Queue()
        self.number, self.pages = 0, {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        while part := self.came.read1(1 << 16):
            *messages, rest = (rest + part).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self.answers.put(message)
                elif message.get("sessionId") in self.pages:
                    self.pages[message["sessionId"]].append(message)

    def call(self, method, session=None, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.answers.get(timeout=60)
            if answer["id"] == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.out.write(b'{"id":0,"method":"Browser.close"}\0')
        self.process.wait(timeout=20)
        self.out.close()


HELPERS = """
window.$ = (id) => document.getElementById(id);
window.said = (id) => $(id).textContent.trim();
window.seen = (id) => $(id).checkVisibility();
"""


class Tab:
    """A page in a context of its own; keeps what it asked for and what went wrong."""

    def __init__(self, browser, address):
        self.browser = browser
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call(
            "Target.createTarget", url="about:blank", browserContextId=self.context
        )
        self.session = browser.call("Target.attachToTarget", flatten=True, **target)["sessionId"]
        self.events = browser.pages[self.session] = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=HELPERS)
        self.size(1280, 900)
        self.open(address)

    def open(self, address):
        self.call("Page.navigate", url=address)
        self.until(
            "document.readyState === 'complete' && window.said"
            " && (!$('model').disabled || said('model-error'))"
        )

    def close(self):
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def js(self, expression):
        """The value of an expression in the page."""
        done = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in done, (expression, done["exceptionDetails"])
        return done["result"].get("value")

    def until(self, expression, seconds=30):
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while not (value := self.js(expression)):
            assert time.monotonic() < end, (
                f"never: {expression}\n{self.js('document.body.innerText')}"
            )
            time.sleep(0.03)
        return value

    def size(self, width, height, mobile=False):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def scheme(self, name):
        feature = {"name": "prefers-color-scheme", "value": name}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def click(self, id_):
        x, y = self.js(
            f"$('{id_}').scrollIntoView({{block: 'center'}}),"
            f"(b => [b.x + b.width / 2, b.y + b.height / 2])($('{id_}').getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, *names):
        for name in names:
            code, text = KEYS[name]
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=name,
                    code="Space" if name == " " else name,
                    windowsVirtualKeyCode=code,
                    **({"text": text} if text and kind == "keyDown" else {}),
                )

    def write(self, id_, text):
        self.js(f"$('{id_}').focus(), $('{id_}').select()")
        self.call("Input.insertText", text=text)

    def paste(self, id_, text):
        """Put in a long text at once; written ones come in pieces."""
        self.js(
            f"$('{id_}').value = {json.dumps(text)}, $('{id_}').dispatchEvent(new Event('input'))"
        )

    def choose(self, id_, value):
        self.js(f"$('{id_}').value = '{value}', $('{id_}').dispatchEvent(new Event('change'))")

    def give(self, id_, path):
        """Put a file into a file field."""
        node = self.call("Runtime.evaluate", expression=f"$('{id_}')")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], objectId=node)

    def picture(self, path):
        """Save a picture of the whole page."""
        self.call("Emulation.setScrollbarsHidden", hidden=True)
        width, height = self.js("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def asked(self):
        """Every address that the page asked for, but for what it holds itself."""
        found = (
            event["params"]["request"]["url"]
            for event in list(self.events)
            if event["method"] == "Network.requestWillBeSent"
        )
        return [url for url in found if not url.startswith(("blob:", "data:", "about:"))]

    def wrong(self, network=True):
        """What the console would show in red; answers with an error status only with network."""
        found = []
        for event in list(self.events):
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"])
            if event["method"] == "Runtime.consoleAPICalled" and params["type"] != "log":
                found.append(params["args"])
            entry = params.get("entry", {})
            if entry.get("level") in ("error", "warning") and (
                network or entry["source"] != "network"
            ):
                found.append(entry)
        return found


class Running:
    """A service in a thread of this process."""

    def __init__(self, app):
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        end = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < end
            time.sleep(0.02)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}/"

    def stop(self):
        self.server.should_exit = True
        self.thread.join(timeout=20)


def recognize(page, clip, names="waving\njumping\nclapping"):
    """Ask for these names in this video, and wait for the answer."""
    page.give("file", clip)
    page.until("$('video').readyState >= 1")  # has its place: what is below moves no more
    page.write("classes", names)
    page.click("run")
    page.until("seen('ranking-box')")
