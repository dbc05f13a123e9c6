"""Small stand-ins for the data and models that pages speak of, each made once when it is wanted."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import yaml
from docs_blocks.pages import ROOT

Maker = Callable[["Workshop", Path], object]
MAKERS: dict[str, Maker] = {}
TOKENIZER = ROOT / "tests" / "golden" / "tiny_tokenizer"


def item(name: str) -> Callable[[Maker], Maker]:
    """Register what makes the stand-in ``name`` at a path."""

    def register(maker: Maker) -> Maker:
        MAKERS[name] = maker
        return maker

    return register


class Workshop:
    """Stand-ins in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str) -> Path:
        """Path of a stand-in; ``name/inner`` is a path inside one."""
        import docs_blocks.models  # noqa: F401 - registers what needs torch

        name, _, inner = name.partition("/")
        path = self.folder / name
        if not path.exists():
            MAKERS[name](self, path)
        return path / inner if inner else path

    def put(self, name: str, place: Path) -> None:
        """Copy a stand-in to where a page has it, unless something is there."""
        if place.exists():
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        source = self.get(name)
        if source.is_symlink():
            place.symlink_to(source.resolve())
        elif source.is_dir():
            shutil.copytree(source, place)
        else:
            shutil.copyfile(source, place)


def load_module(path: Path) -> ModuleType:
    """A helper of other tests, by its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(*words: object) -> None:
    """Run a command of ours; it must not fail."""
    from docs_blocks.programs import run_in_process

    code = run_in_process([str(word) for word in words])
    assert code == 0, f"{words}: exit code {code}"


@item("tiny.yaml")
def tiny_recipe(_: Workshop, path: Path) -> None:
    """The main job's recipe with everything as small as it goes."""
    from apps.adl_mini.recipe import DEFAULT

    recipe = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    recipe["data"] = {"seed": 0, "subjects": 2, "repetitions": 1, "cameras": 2, "frames_max": 24}
    recipe["clip"] |= {"image": 32, "timm": "lcnet_035", "embed": 16}
    recipe["clip"] |= {"text_width": 16, "text_heads": 1}
    recipe["encoder"] |= {"heads": 1, "strides": [2], "output": 16}
    recipe |= {"frames": 2, "train_frames": 2, "window": 8, "stored_frames": 4, "short_side": 36}
    for stage in ("pretrain", "finetune", "classify", "align", "distil"):
        recipe[stage] |= {"epochs": 1, "batch_size": 8}
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")


@item("run")
def main_job(shop: Workshop, path: Path) -> None:
    """A finished main job."""
    program("python", "-m", "apps.adl_mini", "--recipe", shop.get("tiny.yaml"), "--out", path)


@item("student")
def student(shop: Workshop, path: Path) -> None:
    """Its trained student."""
    shutil.copytree(shop.get("run/ski-vificlip-seed0"), path)


@item("clip.mp4")
def clip(shop: Workshop, path: Path) -> None:
    """One of its videos, of an unseen class."""
    shutil.copyfile(sorted(shop.get("run/data/videos").glob("*A022_rgb.mp4"))[0], path)


@item("videos")
def videos(shop: Workshop, path: Path) -> None:
    """Three videos."""
    path.mkdir()
    for one in sorted(shop.get("run/data/videos").glob("*A02[1-3]_rgb.mp4"))[:3]:
        shutil.copyfile(one, path / one.name)


@item("packages")
def packages(_: Workshop, path: Path) -> None:
    """The packages' sources."""
    path.symlink_to(ROOT / "packages")


@item("names.txt")
def names_txt(_: Workshop, path: Path) -> None:
    """Class names, one a line."""
    path.write_text("sit down\nwave right hand\nraise left hand\n", encoding="utf-8")


@item("names.csv")
def names_csv(_: Workshop, path: Path) -> None:
    """Classes by number."""
    path.write_text("id,name\n0,sit down\n1,wave right hand\n2,raise left hand\n", "utf-8")


@item("clips.jsonl")
def clips_jsonl(shop: Workshop, path: Path) -> None:
    """A manifest of six videos with their .skeleton files."""
    data = shop.get("run/data")
    rows = []
    for label, video in enumerate(sorted((data / "videos").glob("*A00[1-6]_rgb.mp4"))[:6]):
        name = video.name.removesuffix("_rgb.mp4")
        skeleton = data / "skeletons" / f"{name}.skeleton"
        rows.append({"video": str(video), "skeleton": str(skeleton), "label": label % 3})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@item("words.csv")
def words_csv(_: Workshop, path: Path) -> None:
    """Classes by number, with a sentence on each."""
    rows = ["id,name,description", "0,sit down,a person lowers to a chair"]
    rows += ["1,wave right hand,the right hand moves", "2,raise left hand,the left hand goes up"]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


@item("lines.txt")
def lines_txt(_: Workshop, path: Path) -> None:
    """Templates."""
    path.write_text("a video of a person who does: {name}\n{name}\n", encoding="utf-8")


@item("all.csv")
def all_csv(_: Workshop, path: Path) -> None:
    """Labels of clips, some of classes that names.txt does not have."""
    names = ("sit down", "wave right hand", "raise left hand", "clap hands")
    path.write_text("id,name\n" + "".join(f"{i},{n}\n" for i, n in enumerate(names)), "utf-8")


@item("labelled.jsonl")
def labelled_jsonl(shop: Workshop, path: Path) -> None:
    """Clips of four classes."""
    found = sorted(shop.get("run/data/videos").glob("*.mp4"))[:8]
    rows = [{"video": str(video), "label": n % 4} for n, video in enumerate(found)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@item("clips.csv")
def clips_csv(shop: Workshop, path: Path) -> None:
    """The manifest in its form without header: video, skeleton, label."""
    rows = map(json.loads, shop.get("clips.jsonl").read_text(encoding="utf-8").splitlines())
    lines = (f"{row['video']},{row['skeleton']},{row['label']}\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


@item("captions.jsonl")
def captions_jsonl(shop: Workshop, path: Path) -> None:
    """What is seen in each of these clips."""
    names = [Path(row["video"]).stem for row in map(json.loads, _lines(shop.get("clips.jsonl")))]
    rows = ({"name": name, "captions": ["a person stands", "an arm moves"]} for name in names)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@item("ntu-raw")
def ntu_raw(shop: Workshop, path: Path) -> None:
    """NTU60's files in little: 60 classes by four people, two of whom train."""
    path.mkdir()
    files = sorted(shop.get("run/data/skeletons").glob("*.skeleton"))
    for number, (person, action) in enumerate((p, a) for p in (1, 2, 3, 6) for a in range(1, 61)):
        name = f"S001C{1 + number % 3:03d}P{person:03d}R001A{action:03d}.skeleton"
        source = files[number % len(files)]
        (path / name).write_text(grown(source.read_text("utf-8"), 1 + 5e-4 * number), "utf-8")
        video = shop.get(f"run/data/videos/{source.stem}_rgb.mp4")
        shutil.copyfile(video, path / name.replace(".skeleton", "_rgb.mp4"))


def grown(text: str, factor: float) -> str:
    """A .skeleton file of a body of another size, so that no two are alike."""
    lines = []
    for line in text.splitlines():
        cells = line.split()
        if len(cells) == 12:  # a joint: x, y, z and what the cameras saw
            cells[:3] = [f"{factor * float(cell):.6f}" for cell in cells[:3]]
        lines.append(" ".join(cells))
    return "\n".join(lines) + "\n"


@item("ntu60")
def ntu60(shop: Workshop, path: Path) -> None:
    """What is made of them, under the names that recipes look for, and what C2VL takes."""
    from ski_data.store import SkeletonStore

    program("ski-data", "prepare", "ntu60", shop.get("ntu-raw"), path / "skeletons")
    manifest = path / "manifest.jsonl"
    program("ski-data", "list-videos", path / "skeletons", shop.get("ntu-raw"), manifest)
    program("ski-data", "cache", manifest, path / "videos", "--short_side", "36")
    names = SkeletonStore(path / "skeletons").names
    captions = ({"name": n, "captions": ["a person stands", "an arm moves"]} for n in names)
    videos = ({"name": n, "video": str(shop.get("clip.mp4"))} for n in names)
    for file, rows in (("captions.jsonl", captions), ("videos.jsonl", videos)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (path / file).write_text(text, encoding="utf-8")


@item("empty")
def empty(_: Workshop, path: Path) -> None:
    """A folder with nothing in it."""
    path.mkdir()


@item("checkout")
def checkout(_: Workshop, path: Path) -> None:
    """The repository itself."""
    path.symlink_to(ROOT)


@item("token")
def token(_: Workshop, path: Path) -> None:
    """A file with a bearer token."""
    path.write_text("a-secret-of-the-tests-0123456789\n", encoding="utf-8")
