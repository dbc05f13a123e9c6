"""Video-language students taught by skeletons: ViFi-CLIP with SkeletonCLIP distillation."""

from importlib.metadata import version

__version__ = version("ski-vlm")
