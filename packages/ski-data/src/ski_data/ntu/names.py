"""NTU RGB+D recording names: ``SsssCcccPpppRrrrAaaa``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ski_data.errors import InputError

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")


@dataclass(frozen=True, order=True)
class NtuName:
    """The five numbers of a recording's name, all from 1 as in the data set.

    Attributes:
        setup: Camera height and distance setting, 1-17 in NTU60, 1-32 in NTU120.
        camera: 1-3.
        subject: The performer, 1-40 in NTU60, 1-106 in NTU120.
        replication: 1 or 2.
        action: 1-60 in NTU60, 1-120 in NTU120.
    """

    setup: int
    camera: int
    subject: int
    replication: int
    action: int

    def __str__(self) -> str:
        return (
            f"S{self.setup:03d}C{self.camera:03d}P{self.subject:03d}"
            f"R{self.replication:03d}A{self.action:03d}"
        )


def parse_name(name: str | Path) -> NtuName:
    """The numbers in a recording's name.

    Args:
        name: ``S001C002P003R002A013``, or a file named so: ``..._rgb.avi``, ``....skeleton``.

    Raises:
        InputError: The name has another form.
    """
    stem = Path(name).name
    match = _NAME.match(stem)
    if match is None or (len(stem) > match.end() and stem[match.end()] not in "._"):
        raise InputError(
            f"{name}: not an NTU RGB+D name; expected SsssCcccPpppRrrrAaaa, "
            "for example S001C002P003R002A013.skeleton"
        )
    return NtuName(*(int(number) for number in match.groups()))
