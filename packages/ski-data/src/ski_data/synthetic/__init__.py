"""adl-mini: a generated data set of daily actions, in the formats of real recordings."""

from ski_data.synthetic.config import AdlMiniConfig
from ski_data.synthetic.dataset import make_adl_mini

__all__ = ["AdlMiniConfig", "make_adl_mini"]
