"""The web page in a real browser, over the real service with a toy model.

Chromium is driven by its DevTools protocol through a pair of pipes: JSON messages that end in NUL.
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

import numpy as np
import pytest
import torch
import uvicorn

from apps.serve.captioners import CHAT, Said
from apps.serve.settings import Settings
from apps.web.page import create_app
from ski_data.video.overlay import write_mp4
from ski_skeleton.text import ClipConfig, ClipSizes
from ski_skeleton.train import write_model
from ski_vlm.students import ViFiClip, ViFiClipConfig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
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
SIZES = ClipSizes(
    embed=16,
    image=32,
    patch=16,
    vision_width=32,
    vision_layers=2,
    vision_head=16,
    text_width=16,
    text_layers=1,
    text_heads=1,
)
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


class Talker:
    """Stands for a language model: answers with the same words, one after the other."""

    def frames(self, reading):
        return reading.frames(np.arange(2))

    def answer(self, kind, payloads):
        assert kind == CHAT
        for turn in payloads:
            for _ in range(8):
                turn.tell("word ")
                if turn.stopped.wait(0.1):
                    break
        return [Said("word " * 8, False)] * len(payloads)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder of an untrained student that learned its classes from nobody."""
    config = ViFiClipConfig(
        clip=ClipConfig(architecture=None, sizes=SIZES), frames=4, short_side=32
    )
    folder = tmp_path_factory.mktemp("toy") / "model"
    torch.manual_seed(0)
    return write_model(folder, "vifi-clip", config, ViFiClip(config).state_dict(), {})


@pytest.fixture(scope="module")
def service(model):
    """Makes applications: the real service and the page."""
    settings = Settings(
        models={"toy": str(model)}, captioners={"talker": "none"}, max_bytes=1 << 22
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("apps.serve.captioners.open_captioner", lambda *_: Talker())
        yield lambda: create_app(settings)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def running(service):
    found = Running(service())
    yield found
    found.stop()


@pytest.fixture
def page(browser, running):
    tab = Tab(browser, running.address)
    yield tab
    elsewhere = [url for url in tab.asked() if not url.startswith(running.address)]
    errors = tab.wrong(network=False)
    tab.close()
    assert elsewhere == []
    assert errors == []


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A video of a few seconds that a browser plays."""
    path = tmp_path_factory.mktemp("clip") / "зарядка 运动.mp4"
    frames = np.zeros((60, 96, 128, 3), np.uint8)
    for number, frame in enumerate(frames):
        frame[20:60, number : number + 40] = (200, 80, 40)
    write_mp4(path, frames, 15.0)
    return path


def recognize(page, clip, names="waving\njumping\nclapping"):
    page.give("file", clip)
    page.write("classes", names)
    page.click("run")
    page.until("seen('ranking-box')")


def test_upload_predict_timeline(page, clip):
    page.choose("window", "1")
    recognize(page, clip)
    names = page.js("[...document.querySelectorAll('#ranking .name')].map((n) => n.textContent)")
    shares = page.js("[...document.querySelectorAll('#ranking .share')].map((n) => n.textContent)")
    assert sorted(names) == ["clapping", "jumping", "waving"]
    assert all(share.endswith("\u00a0%") for share in shares)
    assert page.js("said('said')").startswith(names[0])
    windows = page.js("$('windows').children.length")
    assert windows >= 3
    assert page.js("$('window-rows').children.length") == windows
    assert page.js("document.querySelectorAll('.strip').length") == 3
    page.until("$('video').readyState >= 2")
    page.js("$('windows').children[2].click()")
    page.until("Math.abs($('video').currentTime - 2) < 0.2")
    assert page.js("$('windows').children[2].ariaPressed") == "true"
    assert "0:02.0 to 0:03.0" in page.js("said('said')")
    page.click("whole")
    assert "whole video" in page.js("said('said')")
    assert page.wrong() == []


def test_class_lists(page, tmp_path):
    page.choose("list", "ntu60")
    assert page.js("said('classes-count')") == "60 classes"
    page.choose("list", "ntu120")
    assert page.js("said('classes-count')") == "120 classes"
    own = tmp_path / "own.csv"
    own.write_text('id,name\n0,"sit down, slowly"\n1,махать рукой\n2,يلوّح\n', "utf-8")
    page.give("list-file", own)
    page.until("said('classes-count') === '3 classes'")
    assert page.js("$('classes').value").split("\n") == ["sit down, slowly", "махать рукой", "يلوّح"]
    for content, told in (
        (b"\xff\xfe\x00", "UTF-8"),
        (b" \n\n", "no names"),
        (b"walk\nrun\nwalk", "Line 3"),
    ):
        own.write_bytes(content)
        page.js("$('list-file').value = ''")
        page.give("list-file", own)
        assert told in page.until("said('classes-error')")
        page.js("$('classes-error').textContent = ''")
    page.write("classes", "walk\nwalk")
    assert "Line 2" in page.until("said('classes-error')")


def test_dropped_file(page, clip):
    data = {"items": [], "files": [str(clip)], "dragOperationsMask": 1}
    x, y = page.js("(b => [b.x + 20, b.y + 20])($('drop').getBoundingClientRect())")
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)
    assert clip.name in page.until("said('video-note')")
    page.until("$('video').readyState >= 2")


def test_keyboard_only(page, clip):
    """Every control is reached by Tab, shows its focus, and works."""
    page.write("classes", "a\nb\nc")
    page.js("document.activeElement.blur(), scrollTo(0, 0)")
    page.call("Page.setInterceptFileChooserDialog", enabled=True)
    order = []

    def tab_to(wanted):
        for _ in range(40):
            page.key("Tab")
            now = page.js("document.activeElement.id || document.activeElement.tagName")
            order.append(now)
            outline = "parseFloat(getComputedStyle(document.activeElement).outlineWidth)"
            assert now == "BODY" or page.js(outline) >= 2, now
            if now == wanted:
                return
        raise AssertionError(f"{wanted} not reached: {order}")

    tab_to("file")
    page.key("Enter")
    end = time.monotonic() + 10
    while not (opened := [e for e in page.events if e["method"] == "Page.fileChooserOpened"]):
        assert time.monotonic() < end
        time.sleep(0.03)
    node = opened[0]["params"]["backendNodeId"]
    page.call("DOM.setFileInputFiles", files=[str(clip)], backendNodeId=node)
    page.until("seen('stage')")
    tab_to("run")
    for control in ("camera", "camera-length", "classes", "list", "list-file", "window", "top"):
        assert control in order
    page.key("Enter")
    page.until("seen('ranking-box') && document.activeElement.id === 'run'")
    tab_to("attention-class")
    tab_to("attention")
    page.key(" ")
    page.until("seen('attention-figure')")
    page.js("document.querySelector('.skip').focus()")
    tab_to("video")
    for _ in range(20):
        page.key("Tab")
        if page.js("document.activeElement.parentElement.id") == "windows":
            break
    page.key("ArrowRight", "Enter")
    page.until("$('windows').children[1].ariaPressed === 'true'")
    assert page.js("document.activeElement === $('windows').children[1]")


def test_webcam(page):
    page.js(
        "navigator.mediaDevices.getUserMedia = ((real) => async (wanted) =>"
        " window.track = await real.call(navigator.mediaDevices, wanted))"
        "(navigator.mediaDevices.getUserMedia)"
    )
    page.write("classes", "waving\njumping")
    page.choose("camera-length", "2")
    page.click("camera")
    page.until("seen('camera-stop') && document.activeElement.id === 'camera-stop'")
    page.until("$('windows').children.length >= 2")
    assert "webcam" in page.js("said('said')")
    assert page.js("track.getTracks().every((each) => each.readyState === 'live')")
    page.key("Enter")
    assert page.until("said('camera-note')") == "The webcam is off."
    assert page.js("track.getTracks().every((each) => each.readyState === 'ended')")
    assert page.js("$('video').srcObject") is None
    page.until("$('video').readyState >= 1")  # the last clip stays, and can be asked about
    assert not page.js("seen('camera-stop') || seen('now')")
    page.click("run")
    page.until("said('said').includes('whole video') && seen('now')")
    assert page.wrong() == []


@pytest.mark.parametrize(
    ("name", "told"),
    [("NotAllowedError", "not allowed"), ("NotFoundError", "No webcam"), ("Other", "cannot")],
)
def test_webcam_refused(page, name, told):
    page.write("classes", "waving")
    page.js(
        "navigator.mediaDevices.getUserMedia = () =>"
        f" Promise.reject(new DOMException('reason', '{name}'))"
    )
    page.click("camera")
    assert told in page.until("said('camera-error')")
    assert not page.js("$('camera').disabled || seen('camera-stop')")


def test_webcam_when_the_service_stops(browser, service):
    own = Running(service())
    tab = Tab(browser, own.address)
    tab.write("classes", "waving\njumping")
    tab.choose("camera-length", "2")
    tab.click("camera")
    tab.until("$('windows').children.length >= 1")
    assert tab.js("$('run').disabled")
    own.stop()
    assert "does not answer" in tab.until("said('camera-error')")
    assert tab.js("$('video').srcObject === null && seen('camera') && !$('run').disabled")
    assert tab.wrong(network=False) == []
    tab.close()


def test_another_host_would_be_noticed(browser, running):
    """The checks of the fixture ``page`` see what they are there for, and the page's rules hold."""
    tab = Tab(browser, running.address)
    tab.js("new Image().src = 'https://example.org/a.png'")
    tab.js("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    end = time.monotonic() + 10
    while len(tab.wrong(network=False)) < 2:
        assert time.monotonic() < end
        time.sleep(0.03)
    told = json.dumps(tab.wrong(network=False))
    assert "img-src" in told
    assert "style-src" in told
    tab.close()


def test_nothing_given(page, clip):
    page.click("run")
    assert "Choose a video" in page.js("said('video-error')")
    assert page.js("document.activeElement.id") == "file"
    page.give("file", clip)
    page.until("!said('video-error')")
    page.click("run")
    assert "at least one class" in page.js("said('classes-error')")
    assert page.js("document.activeElement.id + $('classes').ariaInvalid") == "classestrue"


@pytest.mark.parametrize("content", [b"", b"no video at all, only text. " * 30])
def test_no_video(page, tmp_path, content):
    path = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    path.write_bytes(content)
    page.give("file", path)
    if content:
        page.write("classes", "waving")
        page.click("run")
        told = page.until("said('run-error') || said('video-error')")
        assert "Traceback" not in told
        assert not page.js("seen('cancel') || $('run').disabled")
    else:
        assert "is empty" in page.until("said('video-error')")
    assert page.js("document.querySelector('[onerror]')") is None


def test_cancel_while_sending(page, tmp_path, clip):
    long = tmp_path / "long.mp4"
    long.write_bytes(clip.read_bytes() + bytes(3_000_000))
    page.give("file", long)
    page.write("classes", "waving\njumping")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 2e5}
    page.call("Network.emulateNetworkConditions", **slow)
    page.click("run")
    page.until("said('progress-text').startsWith('Sending') && $('progress').value > 0.01")
    page.click("cancel")
    assert page.until("said('said')") == "Cancelled."
    page.until("!seen('busy') && !$('run').disabled")
    assert page.js("said('run-error')") == ""


def test_service_stopped(browser, service, clip):
    own = Running(service())
    tab = Tab(browser, own.address)
    recognize(tab, clip)
    own.stop()
    tab.click("run")
    assert "does not answer" in tab.until("said('run-error')")
    tab.click("attention")
    assert "does not answer" in tab.until("said('attention-error')")
    assert tab.wrong(network=False) == []
    tab.close()


def test_token(browser, model, clip):
    token = "correct horse battery"
    own = Running(create_app(Settings(models={"toy": str(model)}, token=token.replace(" ", "-"))))
    tab = Tab(browser, own.address)
    tab.until("said('model-error') && seen('token') && document.activeElement.id === 'token'")
    assert "token" in tab.js("said('model-error')")
    tab.write("token", "wrong")
    tab.key("Enter")
    tab.until("$('model').disabled && said('model-error')")
    tab.write("token", token.replace(" ", "-"))
    tab.key("Enter")
    tab.until("!$('model').disabled && !said('model-error')")
    recognize(tab, clip)
    assert not tab.js("seen('chat-card')")  # no language model is there
    assert tab.wrong(network=False) == []
    tab.close()
    own.stop()


def test_attention(page, clip):
    recognize(page, clip)
    page.choose("attention-class", "jumping")
    for form, ready in (
        ("mp4", "$('attention-video').readyState >= 2"),
        ("png", "$('attention-image').naturalWidth > 0"),
    ):
        page.choose("attention-form", form)
        page.click("attention")
        page.until(f"seen('attention-figure') && {ready}")
        assert "“jumping”" in page.js("said('attention-note')")
    assert page.wrong() == []


def test_many_long_and_foreign_names(page, clip):
    page.size(390, 844, mobile=True)
    names = ["食べる", "махать рукой", "يشرب الماء", "x" * 200, "<b>bold</b> & 'quoted'"]
    names += [f"action number {n}" for n in range(995)]
    page.choose("top", "")
    page.give("file", clip)
    page.paste("classes", "\n".join(names))
    assert page.js("said('classes-count')") == "1000 classes"
    page.click("run")
    page.until("seen('ranking-box')")
    shown = page.js("[...document.querySelectorAll('#ranking .name')].map((n) => n.textContent)")
    assert sorted(shown) == sorted(names)
    assert page.js("document.querySelector('#ranking b')") is None
    assert page.js("document.documentElement.scrollWidth") <= 390
    assert page.js("$('results').offsetHeight") < 844  # long lists scroll in themselves


CONTRAST = """(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
  };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own && !e.matches('select, input, textarea') || !e.checkVisibility()) continue;
    if (e.matches(':disabled, option')) continue;
    const pair = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const [a, b] = pair.sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.push([e.tagName, e.id, ratio]);
  }
  return low;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_looks(page, clip, scheme, width):
    page.size(width, 844, mobile=width < 600)
    page.scheme(scheme)
    recognize(page, clip)
    page.js("document.querySelectorAll('.error').forEach((e) => e.textContent = 'Wrong.')")
    assert page.js(CONTRAST) == []
    assert page.js("document.documentElement.scrollWidth") <= width
    dark = page.js("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 27)"
    assert dark == (scheme == "dark")
    unnamed = page.js(
        "[...document.querySelectorAll('select, input, textarea')]"
        ".filter((e) => !e.labels.length).map((e) => e.id)"
    )
    assert unnamed == []
    if width == 390:  # wide enough for a thumb
        small = page.js(
            "[...document.querySelectorAll('button, select, input')].filter((e) =>"
            " e.checkVisibility() && e.parentElement.id !== 'windows'"
            " && e.getBoundingClientRect().height < 40).map((e) => e.id)"
        )
        assert small == []
    if folder := os.environ.get("SKI_WEB_PICTURES"):
        page.js("document.querySelectorAll('.error').forEach((e) => e.textContent = '')")
        page.until("$('video').readyState >= 2")
        page.picture(Path(folder) / f"{scheme}_{width}.png")


def test_skeleton(page, clip, tmp_path):
    joints = "\n".join(f"0 0 0 0 0 {600 + 20 * n} 500 0 0 0 0 2" for n in range(25))
    path = tmp_path / "S001.skeleton"
    path.write_text("2\n" + f"1\n1 0 0 0 0 0 0 0 0 2\n25\n{joints}\n" * 2)
    page.give("file", clip)
    page.until("$('video').readyState >= 2")
    page.js("$('skeleton-box').open = true")
    page.give("skeleton", path)
    assert page.until("said('skeleton-note')") == "2 frames"
    drawn = (
        "((c) => c.toDataURL() !== Object.assign(document.createElement('canvas'),"
        " {width: c.width, height: c.height}).toDataURL())($('overlay'))"
    )
    page.until(drawn)
    page.click("skeleton-off")
    assert not page.js(drawn)
    path.write_text("hello")
    page.give("skeleton", path)
    assert "line 1" in page.until("said('skeleton-error')")


def test_chat(page, clip, tmp_path):
    page.click("describe")
    assert "Choose a video" in page.js("said('video-error')")
    page.give("file", clip)
    page.click("ask")
    assert "question" in page.js("said('chat-error')")
    page.write("question", "What is done?")
    page.key("Enter")
    page.until("$('log').children.length === 2 && !seen('chat-stop')")
    assert page.js("$('log').children[0].textContent") == "What is done?"
    assert len(page.js("$('log').children[1].textContent")) > 1
    page.write("question", "And then?")
    page.key("Enter")
    page.until("$('log').children.length === 4")
    page.click("chat-stop")
    page.until("!seen('chat-stop')")
    page.click("chat-new")
    assert page.js("$('log').children.length") == 0
    page.write("question", "Again?")
    page.key("Enter")
    page.until("$('log').children.length === 2 && !seen('chat-stop')")
    other = shutil.copy(clip, tmp_path / "other.mp4")
    page.give("file", other)  # another video: another conversation
    page.click("describe")
    page.until("$('log').children[0].textContent.startsWith('Describe') && !seen('chat-stop')")
    assert page.js("$('log').children.length") == 2
    assert page.wrong() == []
