"""The command that measures how good a trained encoder's features are."""

from __future__ import annotations

import json as json_module
import time
from dataclasses import replace
from pathlib import Path

from ski_data.errors import InputError
from ski_data.store import SkeletonStore
from ski_eval import format_interval, save_predictions, write_card
from ski_skeleton.device import check_device
from ski_skeleton.errors import RunError
from ski_skeleton.finetune import FINETUNE
from ski_skeleton.loading import changed_feeder, load_encoder
from ski_skeleton.probe_cards import result_cards
from ski_skeleton.probing import ProbeConfig, Protocol, run_protocol
from ski_skeleton.store_clips import TrainRule
from ski_skeleton.train import TrainConfig
from ski_skeleton.train.processes import need_one_process
from ski_skeleton.zeroshot.texts import TextConfig


def probe(
    model: str,
    store: str,
    *,
    out: str,
    protocol: Protocol = "linear",
    subjects: tuple[int, ...] = (),
    cameras: tuple[int, ...] = (),
    setups: tuple[int, ...] = (),
    k: tuple[int, ...] = (1, 20),
    shares: tuple[float, ...] = (0.01, 0.1),
    draws: int = 5,
    novel: tuple[str, ...] = (),
    exemplars: tuple[str, ...] = (),
    text: TextConfig | None = None,
    training: TrainConfig = FINETUNE,
    frames: int | None = None,
    skeleton_stream: str | None = None,
    fresh: bool = False,
    method: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Measure an encoder on a store of labelled clips, its own or another (transfer).

    Args:
        model: model folder of a hyperformer, skeleton-clip or c2vl.
        store: skeleton store; its joints are converted to the encoder's where there is a map.
        out: folder for predictions and result cards.
        protocol: linear and knn on frozen features; semi and semi-finetune with few labels, the
            encoder frozen or trained; finetune with all labels; oneshot with one clip per class;
            zeroshot with class names only (c2vl).
        subjects: people whose clips train, all others test (cross-subject), e.g. "[1,2]".
        cameras: or cameras whose clips train (cross-view).
        setups: or setups whose clips train (cross-setup).
        k: neighbours of knn.
        shares: shares of the labels that semi and semi-finetune keep.
        draws: how often those labels are drawn; the mean is reported.
        novel: classes of oneshot and zeroshot, by name or id; by default NTU RGB+D 120's 20, and
            all.
        exemplars: clips of oneshot that are known; by default the published ones, or drawn.
        text: tower of zeroshot, that of the captions, e.g. '{"sentence": {"model": FOLDER}}'.
        training: settings of finetune and semi-finetune.
        frames: frames of a clip that the encoder gets; by default as in its training.
        skeleton_stream: joint, bone, joint_motion or bone_motion; by default as in its training.
        fresh: random weights in place of the trained ones, for comparison.
        method: what cards call the encoder; by default its kind.
        seed: of folds, draws and trainings.
        device: cpu, cuda or cuda:N, for the trained encoder; trainings use the GPU that is there.
        json: print one JSON object per number instead of a table.
    """
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, got {seed}")
    need_one_process("probe")
    check_device(device)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; choose another folder")
    config = ProbeConfig(
        protocol=protocol,
        k=k,
        shares=shares,
        draws=draws,
        novel=novel,
        exemplars=exemplars,
        text=text,
        training=training,
        seed=seed,
        device=device,
    )
    rule = None
    if protocol not in ("oneshot", "zeroshot") or subjects or cameras or setups:
        rule = TrainRule(tuple(subjects), tuple(cameras), tuple(setups))
    if protocol == "oneshot" and rule is not None:
        raise InputError("oneshot tests all clips of its classes; leave --subjects and so on out")
    loaded = load_encoder(model, fresh=fresh, seed=seed)
    loaded = replace(loaded, feeder=changed_feeder(loaded.feeder, frames, skeleton_stream))
    opened = SkeletonStore(store)
    start = time.monotonic()
    outcomes = run_protocol(loaded, opened, config, rule, folder)
    seconds = time.monotonic() - start
    name = method or (f"{loaded.kind}, random weights" if fresh else loaded.kind)
    for outcome in outcomes:
        for draw, predictions in enumerate(outcome.predictions):
            suffix = "" if len(outcome.predictions) == 1 else f"-{draw}"
            save_predictions(predictions, folder / f"{outcome.name}{suffix}.npz")
        for card in result_cards(
            outcome, loaded, opened, config, rule, method=name, seconds=seconds
        ):
            write_card(card, folder, overwrite=True)  # of the same predictions, or we were refused
            if json:
                value = {"protocol": card.protocol, "metric": card.metric, "value": card.value}
                print(json_module.dumps({**value, "n": card.n}))
            else:
                size = f"({card.n} clips, {card.n_classes} classes)"
                text = format_interval(card.value, card.interval)
                print(f"{card.protocol}  {card.metric}  {text}  {size}")
