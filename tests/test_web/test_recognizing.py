"""Upload, recognize, look over time: by mouse, by dropping, by keyboard alone."""

from __future__ import annotations

import time

from web_browser import recognize


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
