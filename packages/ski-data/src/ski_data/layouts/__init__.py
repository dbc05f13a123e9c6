"""Joint layouts by name, and the converter between them."""

from ski_data.layouts.conversion import Validity, convert, joint_validity
from ski_data.layouts.layout import UNITS, Layout, axes_matrix
from ski_data.layouts.tables import (
    BVH22,
    COCO17,
    COCO133,
    H36M17,
    HDM05_31,
    KINECT15,
    KINECT20,
    KINECT22,
    KINECT25,
    LAYOUTS,
    MEDIAPIPE33,
    get_layout,
)

__all__ = [
    "BVH22",
    "COCO17",
    "COCO133",
    "H36M17",
    "HDM05_31",
    "KINECT15",
    "KINECT20",
    "KINECT22",
    "KINECT25",
    "LAYOUTS",
    "MEDIAPIPE33",
    "UNITS",
    "Layout",
    "Validity",
    "axes_matrix",
    "convert",
    "get_layout",
    "joint_validity",
]
