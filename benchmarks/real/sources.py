"""The recordings: where each lies in a data folder, what it is, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """One set of recordings.

    Attributes:
        file: What must be there, relative to the data folder.
        title: What it is.
        licence: Its terms.
        origin: Where it comes from, and what the file holds.
    """

    file: str
    title: str
    licence: str
    origin: str

    def path(self, data: Path) -> Path:
        """The file in a data folder."""
        return data / self.file

    def lacks(self, data: Path) -> tuple[str, ...]:
        """What to get, and where, if it is not there."""
        path = self.path(data)
        if path.is_file():
            return ()
        return (f"{path}: get {self.title} ({self.licence}) from {self.origin}",)


ARRAYS = "the file holds joints (all frames, joints, 3), offsets, label"
SOURCES = {
    "ui_prmd": Source(
        "ui_prmd/ui_prmd_kinect22.npz",
        "UI-PRMD, Kinect part (Vakanski et al., 2018)",
        "public domain, PDDL 1.0",
        "github.com/niemasd/UI-PRMD-Analysis at 2c5bf130, data/*/Kinect, joints by forward "
        f"kinematics; {ARRAYS}, subject, correct; mapping ui_prmd of ski-data import",
    ),
    "hdm05": Source(
        "hdm05_11/hdm05_11class_30fps.npz",
        "HDM05, 11 classes (Müller et al., 2007)",
        "CC BY-SA 3.0",
        "github.com/zhangchi8620/JointLearning-HDM05 at b252ad65, train/1..11 and test/1..11, "
        f"ASF/AMC files by forward kinematics; {ARRAYS}, subject, split; mapping hdm05 of "
        "ski-data import",
    ),
    "bandai": Source(
        "bandai_namco_motion/bandai_namco_motion2_15fps.npz",
        "Bandai-Namco-Research-Motiondataset 2 (Kobayashi et al., 2022)",
        "CC BY-NC 4.0: not for commercial use",
        "github.com/BandaiNamcoResearchInc/Bandai-Namco-Research-Motiondataset at 74ead3ba, BVH "
        f"files at half the frame rate; {ARRAYS}, style, take; mapping bandai_namco_2 of "
        "ski-data import",
    ),
    "clips": Source(
        "rgb_pose_clips/clips.json",
        "29 recorded RGB clips with estimated poses",
        "per clip CC BY 4.0, Apache-2.0 or BSD-3-Clause",
        "github.com/intel-iot-devkit/sample-videos at 57978890, github.com/tensorflow/tfjs-models "
        "at 18a73420 (pose-detection/test_data) and the demo data of pose2sim 0.10.49; clips.json "
        "lists file and label, poses_mediapipe33.npz the landmarks; mapping rgb_pose_clips of "
        "ski-data import",
    ),
}
"""By the names that ``--only`` takes."""
