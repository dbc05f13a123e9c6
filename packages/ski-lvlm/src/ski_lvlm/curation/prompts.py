"""Prompt files of the package, with the hash that every output line carries."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from ski_lvlm.curation.errors import CurationError

NAMES = ("caption", "qa_summary", "qa_details", "dense", "pose")
_BETWEEN = "\n---\n"


@dataclass(frozen=True)
class Prompt:
    """System text and user text with ``$name`` places, and where they come from."""

    name: str
    system: str
    user: Template
    sha256: str

    def fill(self, **values: str) -> str:
        """The user text with every place filled.

        Raises:
            CurationError: A value for a place that is missing.
        """
        try:
            return self.user.substitute(values)
        except (KeyError, ValueError) as error:
            raise CurationError(f"prompt {self.name}: no value for {error}") from None


def load_prompt(name: str) -> Prompt:
    """A prompt of the package; see :data:`NAMES`.

    Raises:
        CurationError: No such prompt, or a file without system and user part.
    """
    if name not in NAMES:
        raise CurationError(f"no prompt {name!r}; there are {', '.join(NAMES)}")
    data = files("ski_lvlm.curation").joinpath("prompts", f"{name}.txt").read_bytes()
    system, mark, user = data.decode("utf-8").partition(_BETWEEN)
    if not mark:
        raise CurationError(f"prompt {name}: no line of three dashes between system and user text")
    digest = hashlib.sha256(data).hexdigest()
    return Prompt(name, system.strip(), Template(user.strip()), digest)
