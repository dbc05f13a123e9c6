"""Command line of ski-data."""

from __future__ import annotations

from collections.abc import Sequence

from ski_data import __version__, command

COMMANDS: dict[str, str] = {
    "prepare": "ski_data.ntu.prepare:prepare",
    "list-videos": "ski_data.ntu.videos:list_videos",
    "prepare-pku-mmd": "ski_data.pku_mmd:prepare_pku_mmd",
    "prepare-charades": "ski_data.charades:prepare_charades",
    "archive": "ski_data.ntu.prepare:archive",
    "import": "ski_data.importer:import_skeletons",
    "import-pyskl": "ski_data.ntu.pyskl:import_pyskl",
    "export-pyskl": "ski_data.ntu.pyskl:export_pyskl",
    "merge": "ski_data.store_merge:merge",
    "synthesize": "ski_data.synthetic.synthesize:synthesize",
    "check": "ski_data.check:check",
    "check-instructions": "ski_data.instructions:check_instructions",
    "cache": "ski_data.video.cache:cache",
    "poses": "ski_data.poses.extract:poses",
}
"""Where each command's function is; it is imported when the command runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``ski-data`` script."""
    return command.run(
        COMMANDS,
        argv,
        prog="ski-data",
        version=__version__,
        description="Prepare, make, import and check skeleton and video data.",
    )
