"""Prompts as embeddings on disk, for servers of language models such as vLLM.

A folder: ``prompts/NUMBER.safetensors``, each one tensor ``prompt_embeds`` (L, D) in the model's
precision; ``index.jsonl``, one line per prompt; ``meta.json``, which language model they are for.
Projectors are not needed to answer them: only the base model, as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ski_data.folders import usual_permissions, whole_folder
from ski_lvlm.caption import QUESTION, Captioner
from ski_lvlm.feature_store import FeatureStore
from ski_lvlm.features import Report
from ski_lvlm.generation import Sampling, room_for
from ski_lvlm.prompts import TemplateName

EMBEDS = "prompt_embeds"


def export_prompts(
    captioner: Captioner,
    videos: Sequence[str],
    out: str | Path,
    *,
    store: FeatureStore | None = None,
    question: str = QUESTION,
    template: TemplateName | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    report: Report | None = None,
) -> None:
    """Write the prompts of a question about videos.

    Args:
        captioner: The model.
        videos: Files, or with ``store`` names of its clips.
        out: Folder to make.
        store: Stored video tokens.
        question: The same for all.
        template: Another template than in training.
        sampling: Written beside each prompt, under the names of vLLM's ``SamplingParams``.
        report: Told how far it is.

    Raises:
        ExistingOutputError: The folder is there.
        SkiDataError: It cannot be written.
        InputError: A video that cannot be decoded.
        FeatureError: A clip that the store lacks.
        PromptError: A prompt that fills the context of the language model.
    """
    ends = sorted(captioner.ends)
    with whole_folder(out) as folder, torch.inference_mode():
        (folder / "prompts").mkdir()
        lines = []
        for number, video in enumerate(videos):
            tokens = captioner.tokens(video) if store is None else store[video]
            prompt = captioner.prompt(tokens, question, template=template)
            length = prompt.ids.shape[1]
            room = room_for(captioner.model.language_model, length, sampling.max_new_tokens)
            embeds = captioner.model.embed(prompt)[0].to(captioner.model.language_model.dtype)
            file = f"prompts/{number:06d}.safetensors"
            with usual_permissions(folder / file):
                save_file({EMBEDS: embeds.contiguous().cpu()}, folder / file)
            line: dict[str, Any] = {
                "video": video,
                "file": file,
                "tokens": length,
                "question": question,
                "ids": prompt.ids[0].tolist(),
                "sampling": {
                    "max_tokens": room,
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "seed": sampling.seed,
                    "stop_token_ids": ends,
                },
            }
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
            if report is not None:
                report(number + 1, len(videos), video)
        meta = {
            "base": captioner.notes.get("base"),
            "precision": str(captioner.model.language_model.dtype).removeprefix("torch."),
            "width": captioner.model.projectors.config.width,
            "template": template or captioner.prompts.template,
            "vocabulary": captioner.model.vocabulary,
        }
        (folder / "index.jsonl").write_text("".join(lines), encoding="utf-8")
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
