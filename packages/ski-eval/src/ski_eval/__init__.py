"""Evaluation of activity models: accuracy, zero-shot protocols, intervals, result cards, reports."""

from importlib.metadata import version

__version__ = version("ski-eval")
