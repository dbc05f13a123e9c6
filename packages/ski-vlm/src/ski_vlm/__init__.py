"""Video-language students taught by skeletons: ViFi-CLIP with SkeletonCLIP distillation."""

from importlib.metadata import version

from ski_vlm.class_texts import Wording
from ski_vlm.predict import Prediction, Recognition, Recognizer, load

__version__ = version("ski-vlm")

__all__ = ["Prediction", "Recognition", "Recognizer", "Wording", "load"]
