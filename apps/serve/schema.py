"""What the API says of itself: answers as models, forms, examples, errors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from apps.serve import fields

_NAMES = '["sit down", "wave right hand", "喝水"]'


class Ranked(BaseModel):
    """A class and its probability among those that were asked for."""

    name: str
    probability: float = Field(ge=0, le=1)


class Window(BaseModel):
    """Classes of a part of the video."""

    start: float = Field(description="Seconds from the first frame.")
    end: float
    classes: list[Ranked]


class Prediction(BaseModel):
    """Classes by falling probability."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "adl",
                "classes": [
                    {"name": "sit down", "probability": 0.91},
                    {"name": "wave right hand", "probability": 0.09},
                ],
                "duration": 2.4,
                "windows": [],
            }
        }
    )
    model: str
    classes: list[Ranked] = Field(description="Of the whole video.")
    duration: float = Field(description="Seconds.")
    windows: list[Window] = Field(description="One after the other, where a window was asked for.")


class Embedding(BaseModel):
    """Features as the model compares them."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"model": "adl", "width": 3, "embedding": [0.6, 0.0, -0.8]}}
    )
    model: str
    width: int
    embedding: list[float] | list[list[float]] = Field(
        description="Of the video; for texts, one list for each."
    )


class Caption(BaseModel):
    """What a language model says of a video."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"text": "A person sits down.", "finished": True}}
    )
    text: str
    finished: bool = Field(description="The model ended it itself; otherwise a limit did.")


class KnownRecognizer(BaseModel):
    """A model that recognises."""

    name: str
    source: str = Field(description="An open_clip tag, or the end of a run folder's path.")
    classes: list[str] | None = Field(description="Its own, which may be left out in requests.")


class KnownCaptioner(BaseModel):
    """A model that talks."""

    name: str


class Models(BaseModel):
    """What can be asked; the first of each kind is the default."""

    recognizers: list[KnownRecognizer]
    captioners: list[KnownCaptioner]


class Status(BaseModel):
    """Of the process."""

    status: str = Field(examples=["ok"])


class ErrorDetail(BaseModel):
    """What is wrong, and what would be right."""

    message: str
    allowed: str


class ErrorAnswer(BaseModel):
    """Every answer of a status of 400 and more."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "message": "the video is empty (0 bytes)",
                    "allowed": "a whole video file",
                }
            }
        }
    )
    error: ErrorDetail


_ERRORS = {
    400: "A form or content that is no use: not a video, no class names, one twice.",
    401: "No token, or a wrong one.",
    404: "No such address or model.",
    408: "The time for a request is over.",
    413: "Too many bytes, seconds, pixels, classes or windows.",
    422: "A form that does not fit this schema.",
    429: "As many requests as the server takes are in work; see Retry-After.",
    500: "An error of the server.",
    503: "Models are being loaded, are broken, or the server is stopping.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers that are errors, all by default."""
    chosen = statuses or tuple(_ERRORS)
    return {status: {"model": ErrorAnswer, "description": _ERRORS[status]} for status in chosen}


def form(required: list[str], properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The body of a POST request for OpenAPI."""
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
        **more,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


VIDEO = {
    "type": "string",
    "format": "binary",
    "description": "A video file: mp4, webm, mkv, mov, avi and others. Its name is not used.",
}
CLASSES = {
    "type": "string",
    "contentMediaType": "application/json",
    "description": "A JSON list of class names; may be left out where the model has its own.",
    "examples": [_NAMES],
}
MODEL = {"type": "string", "description": "See /v1/models; the first by default."}
PREDICT = form(
    ["video"],
    {
        "video": VIDEO,
        "classes": CLASSES,
        "model": MODEL,
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10**9,
            "description": "How many classes to give back; all by default.",
            "examples": [5],
        },
        "window": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": fields.MAX_WINDOW,
            "description": "Seconds; the video's parts of this length are ranked too.",
            "examples": [2.0],
        },
    },
)
ATTENTION = form(
    ["video", "class_name"],
    {
        "video": VIDEO,
        "classes": CLASSES,
        "class_name": {
            "type": "string",
            "description": "One of the classes: where is the evidence for it?",
            "examples": ["sit down"],
        },
        "model": MODEL,
        "format": {
            "type": "string",
            "enum": list(fields.FORMATS),
            "description": "A sheet of frames and overlays (png, default), or a video (mp4).",
        },
    },
)
EMBED = form(
    [],
    {
        "video": VIDEO,
        "texts": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "Class names, a JSON list, in place of a video.",
            "examples": [_NAMES],
        },
        "model": MODEL,
    },
    oneOf=[{"required": ["video"]}, {"required": ["texts"]}],
)
_LIMIT = {
    "type": "integer",
    "minimum": 1,
    "maximum": fields.MAX_NEW_TOKENS,
    "description": "Limit of the answer, in tokens; 256 by default.",
    "examples": [64],
}
CAPTION = form(
    ["video"],
    {
        "video": VIDEO,
        "question": {
            "type": "string",
            "minLength": 1,
            "maxLength": fields.MAX_TEXT,
            "description": "Asks for a description by default.",
            "examples": ["What happens?"],
        },
        "model": MODEL,
        "max_new_tokens": _LIMIT,
    },
)
CHAT = form(
    ["video", "messages"],
    {
        "video": VIDEO,
        "messages": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "A JSON list of speaker (human and gpt in turn) and text, the question "
            "last.",
            "examples": ['[{"speaker": "human", "text": "What happens?"}]'],
        },
        "model": MODEL,
        "max_new_tokens": _LIMIT,
    },
)
EVENTS = {
    200: {
        "description": 'Server-sent events: `data: {"piece"}` as the answer is made, then '
        '`event: end` with `{"text", "finished"}`, or `event: error` with an error.',
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'data: {"piece": "A person"}\n\nevent: end\n'
                'data: {"text": "A person", "finished": true}\n\n',
            }
        },
    }
}
PICTURES = {
    200: {
        "description": "The sheet or the video.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/png", "video/mp4")
        },
    }
}
