"""Commands of data curation."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from ski_data.manifest import read_manifest
from ski_data.progress import Progress
from ski_lvlm.curation.captions import ImageCaptioner, caption_videos
from ski_lvlm.curation.crop import SLACK, crop_videos
from ski_lvlm.curation.errors import CurationError
from ski_lvlm.curation.llm import Endpoint, EndpointConfig, Generator, LocalModel
from ski_lvlm.curation.pairs import Cached, Variant, make_pairs, read_captions
from ski_lvlm.curation.training import read_pairs_file, write_conversations, write_flat


def crop(
    manifest: str,
    out: str,
    *,
    slack: int = SLACK,
    colour_width: int = 1920,
    colour_height: int = 1080,
) -> None:
    """Cut the people out of videos, a box per frame, 224 x 224; the same command goes on.

    Args:
        manifest: clips with videos and .skeleton files; those without a skeleton are skipped.
        out: folder for NAME.mp4.
        slack: pixels that a box is wider and higher than the joints.
        colour_width: width of the picture that the files' colour coordinates refer to.
        colour_height: its height.
    """
    with Progress(f"crop {out}", 1) as progress:
        done, skipped = crop_videos(
            read_manifest(manifest),
            out,
            colour_size=(colour_width, colour_height),
            slack=slack,
            report=progress.report,
        )
    print(f"{out}: {done} clips, {len(skipped)} skipped without a skeleton or video")


def caption(
    manifest: str, out: str, *, model: str, videos: str | None = None, device: str = "cpu"
) -> int:
    """Describe the middle frame of every clip by an image-text model; the same command goes on.

    Args:
        manifest: clips.
        out: JSON lines file, a caption per clip.
        model: image-text model of transformers, hub id or folder.
        videos: folder with NAME.mp4 of the clips, such as crops, instead of the manifest's videos;
            clips that are not there are left out.
        device: cpu, cuda or cuda:N.
    """
    records = read_manifest(manifest)
    if videos is not None:
        files = {path.stem: path for path in Path(videos).glob("*.mp4")}
        records = [replace(r, video=files[r.name]) for r in records if r.name in files]
        if not records:
            raise CurationError(f"{videos}: holds no NAME.mp4 of the manifest's clips")
    with Progress(f"caption {out}", 1) as progress:
        silent = caption_videos(
            records, ImageCaptioner(model, device=device), out, report=progress.report
        )
    print(f"{out}: {len(records) - len(silent)} clips, {len(silent)} without a caption")
    return 1 if silent else 0


def qa(
    captions: str,
    out: str,
    *,
    model: str,
    backend: Literal["local", "endpoint"] = "local",
    variant: Variant = "qa",
    more: str | None = None,
    actions: str | None = None,
    cache: str | None = None,
    attempts: int = 3,
    max_new_tokens: int = 1024,
    seed: int = 0,
    requests_per_minute: float = 60.0,
    timeout: float = 60.0,
    device: str = "cpu",
    json: bool = False,
) -> int:
    """Write question-answer pairs or descriptions by a language model; the same command goes on.

    A server's address and key come from OPENAI_BASE_URL and OPENAI_API_KEY. Exit code 1 if a clip
    has no usable reply after all attempts.

    Args:
        captions: texts by clip, JSON or JSON lines; descriptions of the motion for pose.
        out: JSON lines file, a line per clip with its pairs and what made them.
        model: of transformers (local), or a name that the server knows (endpoint).
        backend: who answers.
        variant: six pairs of two calls, one long description, or two pairs about the motion.
        more: further texts by clip, such as dense captions, put behind the first.
        actions: JSON file of the activity of each clip, for pose.
        cache: JSON lines file of replies; OUT.cache by default.
        attempts: replies asked for each prompt, at most.
        max_new_tokens: limit of a reply.
        seed: of the first attempt; 0 decodes greedily.
        requests_per_minute: limit for an endpoint.
        timeout: seconds until a request is given up.
        device: cpu, cuda or cuda:N, of a local model.
        json: print one JSON object.
    """
    texts = read_captions(captions)
    if more is not None:
        extra = read_captions(more)
        texts = {clip: [*own, *extra.get(clip, [])] for clip, own in texts.items()}
    named = None
    if actions is not None:
        named = {clip: " ".join(found) for clip, found in read_captions(actions).items()}
    if max_new_tokens < 1:
        raise CurationError(f"--max_new_tokens must be at least 1, got {max_new_tokens}")
    generator: Generator
    if backend == "local":
        generator = LocalModel(model, device=device, max_new_tokens=max_new_tokens)
    else:
        config = EndpointConfig(
            model,
            requests_per_minute=requests_per_minute,
            timeout=timeout,
            max_tokens=max_new_tokens,
        )
        generator = Endpoint(config)
    asked = Cached(generator, cache or f"{out}.cache")
    with Progress(f"{variant} {out}", 1) as progress:
        summary = make_pairs(
            variant, texts, asked, out, actions=named, attempts=attempts, seed=seed,
            report=progress.report,
        )  # fmt: skip
    if json:
        print(json_format.dumps({"out": out, **asdict(summary)}))
    else:
        print(
            f"{out}: {summary.clips} clips, {summary.made} made now, {summary.retries} replies "
            f"asked for again, {len(summary.failed)} failed"
        )
        for clip in summary.failed:
            print(f"  failed: {clip}")
    return 1 if summary.failed else 0


def convert(pairs: str, out: str, *, flat: bool = False, skeleton_tokens: bool = True) -> None:
    """Turn pairs into the published training format, or into a flat list.

    Args:
        pairs: what curate-qa wrote, or any form that ski-data check-instructions reads.
        out: JSON file to write.
        flat: a list of video_id, q and a.
        skeleton_tokens: with places for skeleton features.
    """
    found = read_pairs_file(pairs)
    if flat:
        write_flat(found, out)
    else:
        write_conversations(found, out, skeletons=skeleton_tokens)
    print(f"{out}: {len(found)} pairs")
