"""What is missing, wrong, cut off or not allowed is told beside its control."""

from __future__ import annotations

import json
import time

import pytest
from web_browser import Running, Tab, recognize

from apps.serve.settings import Settings
from apps.web.page import create_app


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
