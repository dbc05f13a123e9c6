"""Captions of each clip's middle frame by a local image-text model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ski_data.manifest import Record
from ski_data.video.decode import probe, read_frames
from ski_lvlm.curation.errors import CurationError
from ski_lvlm.curation.lines import Lines
from ski_lvlm.curation.prompts import Prompt, load_prompt
from ski_skeleton.device import check_device

NEW_TOKENS = 256
Report = Callable[[int, int, str], None]
"""Called with clips done, clips in all, and a short text."""


class ImageCaptioner:
    """Any image-text-to-text model of transformers; greedy, at most 256 new tokens.

    Args:
        name: Hub id or folder.
        device: Where to.

    Raises:
        CurationError: Not to be found, or of another kind.
    """

    def __init__(self, name: str, *, device: str = "cpu") -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        where = check_device(device)
        try:
            self.processor: Any = AutoProcessor.from_pretrained(name)
            model = AutoModelForImageTextToText.from_pretrained(name)
        except (OSError, ValueError) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise CurationError(f"{name}: cannot be loaded ({first})") from None
        self.name, self.model = name, model.eval().to(where)

    def caption(self, image: np.ndarray, prompt: Prompt) -> str:
        """What the model says of a picture, uint8 (H, W, 3) RGB."""
        import torch

        content = [{"type": "image"}, {"type": "text", "text": prompt.fill()}]
        said = [
            {"role": "system", "content": [{"type": "text", "text": prompt.system}]},
            {"role": "user", "content": content},
        ]
        text = self.processor.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        given = self.processor(images=[picture], text=[text], return_tensors="pt")
        given = given.to(self.model.device)
        made = self.model.generate(**given, do_sample=False, max_new_tokens=NEW_TOKENS)
        new = made[0, given["input_ids"].shape[1] :]
        return self.processor.decode(new, skip_special_tokens=True).strip()


def caption_videos(
    records: Sequence[Record],
    captioner: ImageCaptioner,
    out: str | Path,
    *,
    report: Report | None = None,
) -> list[str]:
    """Write a line ``{"id", "caption", "frame", "made_by"}`` per clip; what is there is kept.

    Args:
        records: Clips with a video.
        captioner: The model.
        out: JSON lines file.
        report: Told how far it is.

    Returns:
        Clips about whose middle frame the model said nothing; they have no line.

    Raises:
        InputError: A video that cannot be decoded.
        CurationError: Clips without video, or a file made by another model or prompt.
    """
    without = [record.name for record in records if record.video is None]
    if without:
        raise CurationError(f"{len(without)} clips have no video, first {without[0]}")
    prompt = load_prompt("caption")
    origin = {"model": captioner.name, "prompts": {prompt.name: prompt.sha256}}
    lines = Lines(out, "id")
    if any(row.get("made_by") != origin for row in lines.rows.values()):
        raise CurationError(f"{out}: made by another model or prompt; name another file")
    todo = [record for record in records if record.name not in lines]
    silent = []
    for number, record in enumerate(todo, 1):
        assert record.video is not None
        middle = probe(record.video).frames // 2
        said = captioner.caption(read_frames(record.video, [middle])[0], prompt)
        if said:
            lines.add({"id": record.name, "caption": said, "frame": middle, "made_by": origin})
        else:
            silent.append(record.name)
        if report is not None:
            report(number, len(todo), record.name)
    return silent
