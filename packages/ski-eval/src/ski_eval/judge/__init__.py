"""Answers about videos judged by a language model: five metrics, strict answers, stored replies."""

from ski_eval.judge.backends import (
    LLAMA,
    HttpConfig,
    HttpJudge,
    Judge,
    JudgeError,
    LocalConfig,
    LocalJudge,
)
from ski_eval.judge.cache import ReplayJudge, ReplyCache
from ski_eval.judge.items import read_items
from ski_eval.judge.prompts import METRICS, Item, parse_score, prompt_hash
from ski_eval.judge.running import Judged, JudgeScore, run_judge, summarise

__all__ = [
    "LLAMA",
    "METRICS",
    "HttpConfig",
    "HttpJudge",
    "Item",
    "Judge",
    "JudgeError",
    "JudgeScore",
    "Judged",
    "LocalConfig",
    "LocalJudge",
    "ReplayJudge",
    "ReplyCache",
    "parse_score",
    "prompt_hash",
    "read_items",
    "run_judge",
    "summarise",
]
