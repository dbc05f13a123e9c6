"""Text fields of a form as values: 422 for what is no such value, 400 for one that is no use."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from apps.serve.errors import BadInputError, TooLargeError, WrongFieldError
from ski_data.errors import InputError
from ski_lvlm.prompts import Message
from ski_vlm.predict import check_names

MAX_NAME = 200
"""Characters of a class name."""
MAX_TEXT = 4000
"""Characters of a question, message or text."""
MAX_MESSAGES = 64
MAX_NEW_TOKENS = 1024
MAX_WINDOW = 3600.0
FORMATS = ("png", "mp4")
SPEAKERS = ("human", "gpt")
Texts = Mapping[str, str]


def names(texts: Texts, field: str, most: int) -> list[str]:
    """Class names, a JSON list in a field.

    Raises:
        WrongFieldError: no JSON list of texts.
        BadInputError: none, an empty one, or one twice.
        TooLargeError: too many, or one that is too long.
    """
    found = strings(texts, field, most, MAX_NAME)
    try:
        return check_names(found)
    except InputError as error:
        raise BadInputError(
            str(error),
            f"1 to {most} names, each once, none empty, of at most {MAX_NAME} characters",
        ) from None


def strings(texts: Texts, field: str, most: int, longest: int = MAX_TEXT) -> list[str]:
    """Texts, a JSON list in a field.

    Raises:
        WrongFieldError: no JSON list of texts.
        BadInputError: an empty list.
        TooLargeError: too many, or one that is too long.
    """
    allowed = f'a JSON list of 1 to {most} texts, such as ["sit down", "wave"]'
    found = _json(texts, field, allowed)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise WrongFieldError(f"{field} is no list of texts", allowed)
    if not found:
        raise BadInputError(f"{field} is an empty list", allowed)
    if len(found) > most:
        raise TooLargeError(f"{field} has {len(found)} entries", f"at most {most}")
    for text in found:
        _check_text(field, text, longest)
    return found


def messages(texts: Texts, field: str) -> tuple[Message, ...]:
    """A conversation that ends with a question, a JSON list of speaker and text.

    Raises:
        WrongFieldError: no such list.
        BadInputError: speakers out of turn, or an empty text.
        TooLargeError: too many, or one that is too long.
    """
    allowed = 'a JSON list such as [{"speaker": "human", "text": "What happens?"}]'
    found = _json(texts, field, allowed)
    if not isinstance(found, list) or not all(_is_message(one) for one in found):
        raise WrongFieldError(f"{field} is no list of messages", allowed)
    if len(found) > MAX_MESSAGES:
        raise TooLargeError(f"{field} has {len(found)} messages", f"at most {MAX_MESSAGES}")
    for number, one in enumerate(found):
        _check_text(field, one["text"], MAX_TEXT)
        if not one["text"].strip():
            raise BadInputError(f"message {number + 1} is empty", allowed)
        if one["speaker"] != SPEAKERS[number % 2]:
            raise BadInputError(f"message {number + 1} is out of turn", "human and gpt in turn")
    if len(found) % 2 == 0:
        raise BadInputError(f"{field} does not end with a question", "human has the last word")
    return tuple(Message(one["speaker"], one["text"]) for one in found)


def _is_message(one: Any) -> bool:
    return (
        isinstance(one, dict)
        and set(one) == {"speaker", "text"}
        and isinstance(one["text"], str)
        and one["speaker"] in SPEAKERS
    )


def text(texts: Texts, field: str, default: str | None = None) -> str:
    """A text that is not empty.

    Raises:
        WrongFieldError: it is missing and has no default.
        BadInputError: it is empty.
        TooLargeError: it is too long.
    """
    found = _given(texts, field, "a text") if default is None else texts.get(field, default)
    _check_text(field, found, MAX_TEXT)
    if not found.strip():
        raise BadInputError(f"{field} is empty", f"a text of 1 to {MAX_TEXT} characters")
    return found.strip()


def whole(texts: Texts, field: str, most: int, default: int) -> int:
    """A whole number of 1 to ``most``.

    Raises:
        WrongFieldError: something else.
    """
    given = texts.get(field, str(default))
    plain = given.isascii() and given.isdecimal() and len(given) < 12
    if not plain or not 1 <= int(given) <= most:
        raise WrongFieldError(f"{field} is not in its range", f"a whole number of 1 to {most}")
    return int(given)


def seconds(texts: Texts, field: str) -> float | None:
    """Seconds above 0, None where they are not given.

    Raises:
        WrongFieldError: something else.
    """
    if field not in texts:
        return None
    try:
        found = float(texts[field])
    except ValueError:
        found = math.nan
    if not 0 < found <= MAX_WINDOW:
        raise WrongFieldError(
            f"{field} is not in its range", f"seconds above 0 and up to {MAX_WINDOW:g}"
        )
    return found


def choice(texts: Texts, field: str, known: tuple[str, ...]) -> str:
    """One of a few words; the first is the default.

    Raises:
        WrongFieldError: something else.
    """
    found = texts.get(field, known[0])
    if found not in known:
        raise WrongFieldError(f"{field} is not known", "one of " + ", ".join(known))
    return found


def _given(texts: Texts, field: str, allowed: str) -> str:
    if field not in texts:
        raise WrongFieldError(f"the field {field} is missing", allowed)
    return texts[field]


def _json(texts: Texts, field: str, allowed: str) -> Any:
    try:
        return json.loads(_given(texts, field, allowed))
    except (ValueError, RecursionError):
        raise WrongFieldError(f"{field} is not JSON", allowed) from None


def _check_text(field: str, found: str, longest: int) -> None:
    if len(found) > longest:
        raise TooLargeError(
            f"{field} holds a text of {len(found)} characters", f"at most {longest}"
        )
    if not found.isascii() and any("\ud800" <= letter <= "\udfff" for letter in found):
        raise WrongFieldError(f"{field} holds half a character (a lone surrogate)", "Unicode text")
