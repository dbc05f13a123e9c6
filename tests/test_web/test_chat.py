"""Questions about the video."""

from __future__ import annotations

import shutil


def test_chat(page, clip, tmp_path):
    page.click("describe")
    assert "Choose a video" in page.js("said('video-error')")
    page.give("file", clip)
    page.until("$('video').readyState >= 1")  # has its place: nothing moves any more
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
