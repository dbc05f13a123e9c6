"""Evaluation of activity models: accuracy, zero-shot protocols, intervals, cards, reports.

Importing it is light: matplotlib is loaded when a figure is drawn, torch never.
"""

from importlib.metadata import version

from ski_eval.accuracy import (
    GeneralizedZeroShot,
    ZeroShot,
    confusion_matrix,
    gzsl,
    harmonic_mean,
    hits,
    mean_class_accuracy,
    per_class_accuracy,
    predicted_classes,
    topk_accuracy,
    zsl,
)
from ski_eval.bootstrap import bootstrap_interval, bootstrap_resamples, bootstrap_sums
from ski_eval.calibration import Calibration, ReliabilityBin, calibration_error, softmax
from ski_eval.caption_tokens import caption_tokens
from ski_eval.captions import CaptionScore, cider_d, rouge_l, score_captions
from ski_eval.comparison import Comparison, compare_cards, compare_files
from ski_eval.curves import embedding_figure, reliability_figure, sweep_figure
from ski_eval.embeddings import Embeddings, load_embeddings, project, save_embeddings
from ski_eval.errors import ExistingOutputError, InputError, MissingFileError, SkiEvalError
from ski_eval.intervals import Interval, SeedsSummary, seeds_summary
from ski_eval.plots import (
    accuracy_bars_figure,
    confusion_matrix_figure,
    per_class_bars_figure,
    training_curves_figure,
)
from ski_eval.predictions import Predictions, load_predictions, save_predictions
from ski_eval.provenance import environment
from ski_eval.rejection import Rejection, auroc, confidence, fpr_at, open_set, reject_unseen
from ski_eval.report import Report
from ski_eval.results import (
    ResultCard,
    card_schema,
    content_hash,
    read_card,
    read_cards,
    write_card,
)
from ski_eval.scoring import Score, compare, score
from ski_eval.seeds import over_seeds
from ski_eval.segments import (
    DetectionScore,
    Segment,
    average_precision,
    detection,
    read_segments,
    t_iou,
)
from ski_eval.significance import PairedDifference, holm, paired_difference
from ski_eval.tables import (
    Table,
    accuracy_table,
    format_interval,
    format_value,
    markdown_table,
    paper_table,
)

__version__ = version("ski-eval")

__all__ = [
    "Calibration",
    "CaptionScore",
    "Comparison",
    "DetectionScore",
    "Embeddings",
    "ExistingOutputError",
    "GeneralizedZeroShot",
    "InputError",
    "Interval",
    "MissingFileError",
    "PairedDifference",
    "Predictions",
    "Rejection",
    "ReliabilityBin",
    "Report",
    "ResultCard",
    "Score",
    "SeedsSummary",
    "Segment",
    "SkiEvalError",
    "Table",
    "ZeroShot",
    "accuracy_bars_figure",
    "accuracy_table",
    "auroc",
    "average_precision",
    "bootstrap_interval",
    "bootstrap_resamples",
    "bootstrap_sums",
    "calibration_error",
    "caption_tokens",
    "card_schema",
    "cider_d",
    "compare",
    "compare_cards",
    "compare_files",
    "confidence",
    "confusion_matrix",
    "confusion_matrix_figure",
    "content_hash",
    "detection",
    "embedding_figure",
    "environment",
    "format_interval",
    "format_value",
    "fpr_at",
    "gzsl",
    "harmonic_mean",
    "hits",
    "holm",
    "load_embeddings",
    "load_predictions",
    "markdown_table",
    "mean_class_accuracy",
    "open_set",
    "over_seeds",
    "paired_difference",
    "paper_table",
    "per_class_accuracy",
    "per_class_bars_figure",
    "predicted_classes",
    "project",
    "read_card",
    "read_cards",
    "read_segments",
    "reject_unseen",
    "reliability_figure",
    "rouge_l",
    "save_embeddings",
    "save_predictions",
    "score",
    "score_captions",
    "seeds_summary",
    "softmax",
    "sweep_figure",
    "t_iou",
    "topk_accuracy",
    "training_curves_figure",
    "write_card",
    "zsl",
]
