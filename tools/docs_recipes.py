"""Write the tables of ``docs/recipes.md`` from the packages: ``python -m tools.docs_recipes``.

One table per command that trains, one line per method, with the data and splits it has a recipe
for. A test compares the page with what this writes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from apps.cli.train import OWNERS, find_owner, shipped
from ski_data.config import read_yaml

PAGE = Path(__file__).resolve().parents[1] / "docs/recipes.md"
BEGIN, END = "<!-- recipes: begin -->", "<!-- recipes: end -->"
DATA = re.compile(r"(?:;| on| of) ntu.*$", re.IGNORECASE)
"""What the first line of a recipe says of its data, which has a column of its own."""


def tables() -> str:
    """All recipes as Markdown."""
    groups: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(dict)
    lengths: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(dict)
    for package in dict.fromkeys(owner.package for owner in OWNERS):
        for name, path in shipped(package).items():
            method, _, data = name.partition("_")
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            title = first.lstrip("# ").partition(": ski-")[0].rstrip(".")
            title = DATA.sub("", title) or title
            key = (method, title)
            groups[str(find_owner(str(path)))].setdefault(key, []).append(data)
            lengths[key].setdefault(length(read_yaml(path)), []).append(f"`_{data}`")
    lines = []
    for owner, methods in groups.items():
        count = sum(map(len, methods.values()))
        lines += [f"## {owner}: {count} recipes", ""]
        lines += ["| name | what it trains | for | length |", "| --- | --- | --- | --- |"]
        for (method, title), data in methods.items():
            places = " ".join(f"`_{each}`" for each in data)
            usual, *others = sorted(lengths[method, title].items(), key=lambda each: -len(each[1]))
            told = [usual[0], *(f"{' '.join(where)} {what}" for what, where in others)]
            lines.append(f"| `{method}` | {title} | {places} | {', '.join(told)} |")
        lines.append("")
    return "\n".join(lines)


def length(recipe: dict[str, Any]) -> str:
    """Epochs and clips of a step of a recipe's parts, as they stand in it."""
    parts = {name: recipe[name] for name in ("classify", "align", "train") if name in recipe}
    if "epochs" in recipe or list(parts) == ["train"]:
        parts = {"": parts.get("train", recipe)}
    said = [
        f"{name} {part['epochs']} x {part['batch_size']}".strip()
        for name, part in parts.items()
        if isinstance(part, dict) and {"epochs", "batch_size"} <= part.keys()
    ]
    return ", ".join(said)


def page() -> str:
    """The page with its tables made anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.name)
