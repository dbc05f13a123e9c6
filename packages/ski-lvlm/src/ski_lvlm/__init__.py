"""Skeleton and video tokens for frozen large language models."""

import logging
from importlib.metadata import version

__version__ = version("ski-lvlm")

# DeepSpeed, which transformers imports, writes its remarks to standard output, where results go.
logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)
