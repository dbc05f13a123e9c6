"""Links of the pages lead somewhere; the README's first prediction is of a clip that there is."""

from __future__ import annotations

import re
from pathlib import Path

from docs_blocks.pages import ROOT, blocks, commands, page_text, pages, steps

from apps.adl_mini.recipe import DEFAULT, read_recipe
from ski_data.synthetic.classes import UNSEEN


def test_links_lead_somewhere():
    broken = []
    for page in pages():
        folder = (ROOT / page).parent
        for target in re.findall(r"\]\(([^)#]+)\)", page_text(page)):
            if "://" not in target and not (folder / target).exists():
                broken.append(f"{page}: {target}")
    assert broken == []


def test_the_clip_of_the_first_prediction_is_made_and_of_an_unseen_class():
    typed = [command for block in blocks("README.md") for command in commands(block)]
    (words,) = [
        step.words for line in typed for step in steps(line.text) if "predict" in step.words
    ]
    video = Path(words[words.index("predict") + 1])
    setup, camera, subject, repetition, label = map(
        int, re.fullmatch(r"S(\d+)C(\d+)P(\d+)R(\d+)A(\d+)_rgb", video.stem).groups()
    )
    data = read_recipe(DEFAULT).data
    assert camera <= data.cameras
    assert subject in data.test_subjects
    assert repetition <= data.repetitions
    assert setup == (subject - 1) % 4 + 1
    names = words[words.index("--classes") + 1].split(",")
    assert names == [action.name for action in UNSEEN]
    assert label > 20
