"""Command line of ski-data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ski_data import __version__, command
from ski_data.charades import prepare_charades
from ski_data.check import check
from ski_data.importer import import_skeletons
from ski_data.instructions import check_instructions
from ski_data.ntu.prepare import archive, prepare
from ski_data.ntu.pyskl import export_pyskl, import_pyskl
from ski_data.pku_mmd import prepare_pku_mmd
from ski_data.poses.extract import poses
from ski_data.store_merge import merge
from ski_data.synthetic.synthesize import synthesize
from ski_data.video.cache import cache

COMMANDS: dict[str, Callable[..., object]] = {
    "prepare": prepare,
    "prepare-pku-mmd": prepare_pku_mmd,
    "prepare-charades": prepare_charades,
    "archive": archive,
    "import": import_skeletons,
    "import-pyskl": import_pyskl,
    "export-pyskl": export_pyskl,
    "merge": merge,
    "synthesize": synthesize,
    "check": check,
    "check-instructions": check_instructions,
    "cache": cache,
    "poses": poses,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ski-data`` script."""
    return command.run(
        COMMANDS,
        argv,
        prog="ski-data",
        version=__version__,
        description="Prepare, make, import and check skeleton and video data.",
    )
