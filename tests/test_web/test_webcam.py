"""The webcam: a made-up one of the browser."""

from __future__ import annotations

import pytest
from web_browser import Running, Tab


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
