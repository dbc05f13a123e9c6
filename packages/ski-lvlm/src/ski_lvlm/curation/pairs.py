"""Pairs and descriptions by a language model: resumable per clip, checked, with provenance."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ski_data.text import read_text
from ski_lvlm.curation.errors import CurationError, ReplyError
from ski_lvlm.curation.lines import Lines
from ski_lvlm.curation.llm import Generator
from ski_lvlm.curation.prompts import Prompt, load_prompt
from ski_lvlm.curation.reply import read_description, read_pairs

log = logging.getLogger(__name__)

Variant = Literal["qa", "dense", "pose"]
"""Two calls of three pairs each; one long description; two pairs about the motion."""
Texts = Mapping[str, Sequence[str]]
"""Captions by clip."""
Report = Callable[[int, int, str], None]
"""Called with clips done, clips in all, and a short text."""


class Cached:
    """A generator that is never asked the same twice: same model, texts and seed, same reply.

    Args:
        generator: Who is asked.
        path: JSON lines file of replies.
    """

    def __init__(self, generator: Generator, path: str | Path) -> None:
        self.name, self._generator = generator.name, generator
        self._lines = Lines(path, "key")

    def __call__(self, system: str, user: str, seed: int) -> str:
        """See :class:`ski_lvlm.curation.llm.Generator`."""
        asked = json.dumps([self.name, system, user, seed])
        key = hashlib.sha256(asked.encode("utf-8")).hexdigest()
        if key not in self._lines:
            self._lines.add({"key": key, "reply": self._generator(system, user, seed)})
        return self._lines.rows[key]["reply"]


@dataclass(frozen=True)
class Summary:
    """What a run did."""

    clips: int
    """That have their pairs now."""
    made: int
    """Of these, by this run."""
    retries: int
    """Replies that were not what was asked for, and were asked for again."""
    failed: tuple[str, ...]
    """Clips without a usable reply after all attempts."""


def make_pairs(
    variant: Variant,
    captions: Texts,
    generator: Generator,
    out: str | Path,
    *,
    actions: Mapping[str, str] | None = None,
    attempts: int = 3,
    seed: int = 0,
    report: Report | None = None,
) -> Summary:
    """Write a line per clip: id, pairs, and the model, seeds and prompt hashes that made them.

    Clips whose line is there are not asked about again. A reply of another form is asked for again
    with the next seed, ``attempts`` times in all; a clip that then has none gets no line.

    Args:
        variant: What is made.
        captions: Texts of each clip: captions, or descriptions of the motion for ``pose``.
        generator: Who writes.
        out: JSON lines file, perhaps of a run that was interrupted.
        actions: Activity of each clip, for ``pose``.
        attempts: Replies asked for each prompt, at most.
        seed: Of the first attempt.
        report: Told how far it is.

    Raises:
        CurationError: Clips without an activity, or a file made by another model or other prompts.
        EndpointError: The server gives no reply; lines made so far are kept.
    """
    if attempts < 1:
        raise CurationError(f"attempts must be at least 1, not {attempts}")
    if not captions:
        raise CurationError("no clips to write pairs about")
    if variant == "pose":
        without = [clip for clip in captions if clip not in (actions or {})]
        if without:
            raise CurationError(f"{len(without)} clips have no activity, first {without[0]}")
    prompts = [load_prompt(name) for name in _PROMPTS[variant]]
    origin = {
        "variant": variant,
        "model": generator.name,
        "seed": seed,
        "prompts": {prompt.name: prompt.sha256 for prompt in prompts},
    }
    lines = Lines(out, "id")
    for row in lines.rows.values():
        if row.get("made_by") != origin:
            raise CurationError(
                f"{out}: clip {row['id']} was made by another model, seed or prompt; name another "
                "file"
            )
    todo = [clip for clip in captions if clip not in lines]
    retries, failed = 0, []
    for number, clip in enumerate(todo, 1):
        values = {"captions": "\n".join(f"- {text}" for text in captions[clip])}
        if variant == "pose":
            values = {"action": (actions or {})[clip], "pose": "\n".join(captions[clip])}
        pairs: list[dict[str, str]] | None = []
        for prompt in prompts:
            found, wrong = _ask(prompt, values, variant, generator, attempts, seed, clip)
            retries += wrong
            if found is None:
                pairs = None
                break
            pairs += found  # type: ignore[operator]
        if pairs is None:
            failed.append(clip)
        else:
            lines.add({"id": clip, "pairs": pairs, "made_by": origin})
        if report is not None:
            report(number, len(todo), clip)
    done = sum(clip in lines for clip in captions)
    return Summary(done, len(todo) - len(failed), retries, tuple(failed))


_PROMPTS: dict[str, tuple[str, ...]] = {
    "qa": ("qa_summary", "qa_details"),
    "dense": ("dense",),
    "pose": ("pose",),
}
_COUNTS = {"qa": 3, "pose": 2}


def _ask(
    prompt: Prompt,
    values: Mapping[str, str],
    variant: Variant,
    generator: Generator,
    attempts: int,
    seed: int,
    clip: str,
) -> tuple[list[dict[str, str]] | None, int]:
    """Pairs of one prompt, None after all attempts; and how many replies were of another form."""
    user = prompt.fill(**values)
    for attempt in range(attempts):
        reply = generator(prompt.system, user, seed + attempt)
        try:
            if variant == "dense":
                return [read_description(reply)], attempt
            return read_pairs(reply, _COUNTS[variant]), attempt
        except ReplyError as error:
            log.warning("clip %s, %s, attempt %d: %s", clip, prompt.name, attempt + 1, error)
    return None, attempts


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Texts by clip from our JSON lines, or from a published JSON object.

    Known forms: lines ``{"id", "caption"}``; objects of clip and text, list of texts, or
    ``{"A"}``, ``{"caption"}``, ``{"pose_desc"}``, ``{"sentences"}``; such an object under one
    prefix.

    Raises:
        MissingFileError: No such file.
        CurationError: Of none of these forms; names the clip.
    """
    text = read_text(path, "file of captions")
    found: dict[str, list[str]] = {}
    try:
        if Path(path).suffix == ".jsonl":
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
            plain = {row["id"]: row["caption"] for row in rows}
            if len(plain) < len(rows):
                raise CurationError(f"{path}: a clip stands twice")
        else:
            plain = json.loads(text)
            items = list(plain.values())
            if len(items) == 1 and isinstance(items[0], dict) and not _KEYS & set(items[0]):
                plain = items[0]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CurationError):
            raise
        raise CurationError(f"{path}: no captions by clip ({error!r})") from None
    for clip, value in plain.items():
        texts = _texts(value)
        if not texts:
            raise CurationError(f"{path}: clip {clip}: no text, found {value!r:.80}")
        found[clip] = texts
    if not found:
        raise CurationError(f"{path}: no clips")
    return found


_KEYS = {"A", "caption", "pose_desc", "sentences"}


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        held = [value[key] for key in sorted(_KEYS & set(value))]
        value = held[0] if len(held) == 1 else None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
        return []
    return [text.strip() for text in texts]
