"""Video students: RGB clips and class names to logits."""

from ski_vlm.students.vificlip import StudentOutput, ViFiClip, ViFiClipConfig

__all__ = ["StudentOutput", "ViFiClip", "ViFiClipConfig"]
