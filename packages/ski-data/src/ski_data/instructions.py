"""Questions and answers about videos, the training pairs of a video language model.

Read are the three forms in which such pairs are published, and our own JSON lines:

- conversations: ``[{"id", "video", "pose"?, "conversations": [{"from": "human", "value"},
  {"from": "gpt", "value"}, ...]}]``, with placeholders (``<video>``) in what the human says; each
  turn becomes a pair of its own;
- flat: ``[{"video_id", "q", "a"}]`` or ``[{"video_name", "Q", "A"}]``;
- grouped: ``[[{"Q", "A"}, ..., {"id"}], ...]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from json import dumps, loads
from pathlib import Path
from reprlib import repr
from statistics import median
from typing import Any

from ski_data.errors import InputError, MissingFileError
from ski_data.folders import whole_file
from ski_data.text import read_text

_VIDEO = "<video>"
PLACEHOLDERS = (_VIDEO, "<pose>", "<object>")
"""Stand-ins for tokens in published conversations; where tokens go is the model's business."""
_PLACEHOLDER = re.compile("|".join(map(re.escape, PLACEHOLDERS)))
_SHOWN = 5
_FLAT = (("video_id", "q", "a"), ("video_name", "Q", "A"))


class InstructionError(InputError):
    """Pairs that cannot be used, with the file and the item."""


@dataclass(frozen=True)
class Instruction:
    """One question about a video, with its answer.

    Attributes:
        id: Unique in a file.
        video: Name of the clip, without folder and ending.
        question: Without placeholders.
        answer: What the model should say.
        skeleton: Name of the clip's skeleton features, if they are named.
    """

    id: str
    video: str
    question: str
    answer: str
    skeleton: str | None = None


def read_instructions(path: Path | str) -> list[Instruction]:
    """Read pairs from ``.json`` (published forms) or ``.jsonl`` (ours).

    Raises:
        MissingFileError: There is no such file.
        InputError: Not UTF-8, not JSON, an item of no known form, an empty question or answer,
            speakers out of turn, a conversation without ``<video>`` or a question with two, the
            same id twice; the text names file and item.
    """
    path = Path(path)
    pairs: list[Instruction] = []
    places: dict[str, str] = {}
    for place, item in _items(path):
        for pair in _pairs(item, f"{path}, {place}"):
            if pair.id in places:
                raise InstructionError(
                    f"{path}, {place}: id {pair.id!r} stands already in {places[pair.id]}"
                )
            places[pair.id] = place
            pairs.append(pair)
    if not pairs:
        raise InstructionError(f"{path}: no pairs")
    return pairs


def write_instructions(path: Path | str, pairs: Iterable[Instruction]) -> None:
    """Write pairs as JSON lines.

    Raises:
        ExistingOutputError: The file is there already.
        SkiDataError: It cannot be written.
    """
    rows = [{k: v for k, v in asdict(pair).items() if v is not None} for pair in pairs]
    text = "".join(dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def missing_videos(pairs: Iterable[Instruction], videos: Iterable[str]) -> list[str]:
    """Names of clips that pairs speak of and ``videos`` does not hold, in order, once each."""
    known = set(videos)
    return [name for name in dict.fromkeys(pair.video for pair in pairs) if name not in known]


def check_instructions(
    source: str,
    videos: str | None = None,
    skeletons: str | None = None,
    out: str | None = None,
    json: bool = False,
) -> int:
    """Check question-answer pairs about videos, in any published form, and convert them.

    Counts pairs, videos and words, and lists what would spoil a training: clips that are not
    there, pairs that stand twice, placeholders such as <video> in an answer. Exit code 1 if there
    is any of it.

    Args:
        source: JSON or JSON lines file of pairs.
        videos: Folder that holds the videos, or features of them, named like the clips, at any
            depth.
        skeletons: The same for skeletons or features of them.
        out: JSON lines file to write all pairs to, one a line, without placeholders.
        json: Print one JSON object instead of a table.

    Raises:
        MissingFileError: The file or a folder is not there.
        InputError: Pairs that cannot be used, by file and item.
        ExistingOutputError: ``out`` is there already.
    """
    pairs = read_instructions(source)
    problems: list[str] = []
    if videos is not None:
        gone = missing_videos(pairs, _stems(Path(videos)))
        _add(problems, f"videos not in {videos}", gone)
    if skeletons is not None:
        there = _stems(Path(skeletons))
        named = dict.fromkeys(pair.skeleton for pair in pairs if pair.skeleton is not None)
        _add(
            problems, f"skeletons not in {skeletons}", [name for name in named if name not in there]
        )
    first: dict[tuple[str, str, str], str] = {}
    copies = []
    for pair in pairs:
        earlier = first.setdefault((pair.video, pair.question, pair.answer), pair.id)
        if earlier != pair.id:
            copies.append(f"{pair.id} = {earlier}")
    _add(problems, "the same pair twice", copies)
    spoilt = [pair.id for pair in pairs if _PLACEHOLDER.search(pair.answer)]
    _add(problems, "a placeholder in the answer", spoilt)
    if out is not None:
        write_instructions(out, pairs)
    counts = {
        "pairs": len(pairs),
        "videos": len({pair.video for pair in pairs}),
        "pairs with a skeleton": sum(pair.skeleton is not None for pair in pairs),
        "median words of a question": median(len(pair.question.split()) for pair in pairs),
        "median words of an answer": median(len(pair.answer.split()) for pair in pairs),
    }
    if json:
        print(dumps({"source": source, "counts": counts, "problems": problems}))
    else:
        print(source)
        for name, count in counts.items():
            print(f"  {name}: {count:g}")
        print("\n".join(f"  problem: {text}" for text in problems) or "  no problems")
    return 1 if problems else 0


def _stems(folder: Path) -> set[str]:
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    return {path.stem for path in folder.rglob("*") if path.is_file()}


def _add(problems: list[str], text: str, names: list[str]) -> None:
    if names:
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        problems.append(f"{len(names)} x {text}: {shown}")


def _items(path: Path) -> Iterator[tuple[str, Any]]:
    text = read_text(path, "file of pairs")
    if path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):  # a text may hold other line ends
            if line.strip():
                yield f"line {number}", _parse(line, f"{path}, line {number}")
        return
    rows = _parse(text, str(path))
    if not isinstance(rows, list):
        raise InstructionError(f"{path}: a list was expected, found {type(rows).__name__}")
    for number, row in enumerate(rows, 1):
        yield f"item {number}", row


def _parse(text: str, where: str) -> Any:
    try:
        return loads(text)
    except (ValueError, RecursionError) as error:
        raise InstructionError(f"{where}: not JSON ({error})") from error


def _pairs(item: Any, where: str) -> list[Instruction]:
    if isinstance(item, list):
        return _grouped(item, where)
    if isinstance(item, dict):
        if "conversations" in item:
            return _conversation(item, where)
        if "question" in item:
            keys = ("id", "video", "question", "answer")
            id_, video, question, answer = (_string(item, key, where) for key in keys)
            skeleton = _string(item, "skeleton", where) if "skeleton" in item else None
            return [Instruction(id_, _clip(video), _question(question, where), answer, skeleton)]
        for keys in _FLAT:
            if keys[0] in item:
                video, question, answer = (_string(item, key, where) for key in keys)
                name = f"{_clip(video)}_{where.rpartition(' ')[2]}"
                return [Instruction(name, _clip(video), _question(question, where), answer)]
    raise InstructionError(
        f"{where}: of no known form; expected conversations, video_id/q/a, video_name/Q/A, or a "
        "list of Q/A with an id"
    )


def _grouped(item: Sequence[Any], where: str) -> list[Instruction]:
    if not all(isinstance(part, dict) for part in item):
        raise InstructionError(f"{where}: a list of Q/A objects was expected")
    ids = [part for part in item if set(part) == {"id"}]
    if len(ids) != 1:
        raise InstructionError(f"{where}: one object with nothing but the id was expected")
    video = _clip(_string(ids[0], "id", where))
    turns = [part for part in item if part is not ids[0]]
    return [
        Instruction(
            f"{video}_{number}",
            video,
            _question(_string(part, "Q", where), where),
            _string(part, "A", where),
        )
        for number, part in enumerate(turns)
    ]


def _conversation(item: dict[str, Any], where: str) -> list[Instruction]:
    id_, video = _string(item, "id", where), _clip(_string(item, "video", where))
    skeleton = _clip(_string(item, "pose", where)) if "pose" in item else None
    turns = item["conversations"]
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise InstructionError(f"{where}: conversations must be pairs of human and gpt")
    pairs = []
    shown = 0
    for number in range(0, len(turns), 2):
        asked, said = turns[number : number + 2]
        for turn, speaker in ((asked, "human"), (said, "gpt")):
            if not isinstance(turn, dict) or turn.get("from") != speaker:
                raise InstructionError(f"{where}: human and gpt must speak in turn, human first")
        text = _string(asked, "value", where)
        shown += text.count(_VIDEO)
        question = _question(text, where)
        name = id_ if len(turns) == 2 else f"{id_}_{number // 2}"
        pairs.append(Instruction(name, video, question, _string(said, "value", where), skeleton))
    if not shown:
        raise InstructionError(
            f"{where}: a conversation about {video} without {_VIDEO}; put it into a question"
        )
    return pairs


def _question(text: str, where: str) -> str:
    for placeholder in PLACEHOLDERS:
        if text.count(placeholder) > 1:
            raise InstructionError(
                f"{where}: {placeholder} stands {text.count(placeholder)} times in a question; a "
                "question is about one video: leave one"
            )
    question = _PLACEHOLDER.sub("", text).strip()
    if not question:
        raise InstructionError(f"{where}: an empty question")
    return question


def _clip(name: str) -> str:
    """Name without folder and without the ending of a feature or video file."""
    name = name.rpartition("/")[2]
    return re.sub(r"\.(pkl|npy|npz|mp4|avi|mkv)$", "", name)


def _string(item: dict[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InstructionError(f"{where}: {key} must be text, found {repr(value)}")
    return value.strip()
