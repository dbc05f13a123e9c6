"""Words of captions as caption metrics count them: close to the Penn Treebank's tokens.

A pure-Python formulation of what the field's evaluation code does with Stanford's ``PTBTokenizer``
(CoreNLP 3.4.1, ``-lowerCase``) followed by its list of punctuation to drop. Equal on ordinary
English text; the tests compare stored answers. Kept from the original: brackets stay as tokens
(``-lrb-``), runs such as ``?!`` stay, ``£`` becomes ``#``.

Known differences: smileys, markup with attributes and text in which letters, digits and signs are
mixed without spaces (``v1.2``, ``20x30'``) may be parted otherwise.
"""

from __future__ import annotations

import re
from functools import lru_cache

_DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
# Words whose point belongs to them: always, when capitalised, before a number.
_ALWAYS = (
    "adm adv al ala alex apr assn assoc asst atty aug ave bldg blvd bros calif capt cf cie cmdr "
    "co col colo conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla "
    "fri ft ga gen gov hon inc ind intl jan jos jr jul jun kan kans ky lt ltd maj mar md messrs "
    "mfg mich minn mme mo mon mont mr mrs ms mt mtg natl nev nov oct penn pfc ph plc pres prof "
    "profs pte pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys "
    "tel thu thurs tue tues univ va vs vt wed wis wm"
)
_CAPITAL = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"
_BEFORE_NUMBER = "art ca fig figs no nos op pp prop"
# After them, the point behind a single letter ends a sentence.
_STARTERS = (
    "About After An As At But Earlier He Her Here However If In It Last Many More Now Once One "
    "Other Our She Since So Some Such That The Their Then There These They This We What When "
    "While Yet You"
)

_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&nbsp;": " "}
_FRACTIONS = {"¼": " 1/4 ", "½": " 1/2 ", "¾": " 3/4 ", "⅓": " 1/3 ", "⅔": " 2/3 "}
_SIGNS = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "£": "#",
    "€": "$",
    "¢": "cents",
    "\u00ad": "",
    "\u2010": "",
}
_QUOTES = "\"'`\u2018\u2019\u201a\u201b\u201c\u201d\u00ab\u00bb\u2039\u203a"

_APOSTROPHE = "['\u2019]"
_LETTER = r"[^\W\d_]"
_SUFFIX = rf"(?:{_APOSTROPHE}(?:s|m|d|re|ve|ll))(?!{_LETTER})"
_WORD = rf"{_LETTER}[\w]*"

_TOKEN = re.compile(
    rf"""
    (?P<space>[\s\u200b\ufeff]+)
  | (?P<whole>
        https?://[^\s"<>|]+[^\s"<>|.!?,;:)]
      | (?:www\.)[\w-]+(?:\.[\w-]+)+(?:/[^\s"<>|.!?,;:)]*)?
      | [\w.+-]+@[\w-]+(?:\.[\w-]+)+
      | [#@][A-Za-z_]\w*
      | </?[A-Za-z][^<>\s]*>
      | US\$
    )
  | (?P<pair>can(?=not\b)|gon(?=na\b)|got(?=ta\b)|lem(?=me\b)|gim(?=me\b)|wan(?=na\b)
      | (?<!\w){_APOSTROPHE}t(?=(?:is|was)\b))
  | (?P<number>
        [-+]?(?:\d+(?:[.,:/\u2044-]\d+)*|\.\d+(?:[.,]\d+)*)(?=bn\b|(?!\w)|(?<=[.:]\d\d)[ap]m\b)
        (?:-{_WORD}(?:-\w+)*)?
      | [-+]?\d+(?:[.,:]\d+)*-{_WORD}(?:-\w+)*
      | \d+[\w]+(?:-\w+)*
      | \d+(?:[.,:/-]\d+)+
    )
  | (?P<decade>{_APOSTROPHE}\d\ds?\b)
  | (?P<short>
        (?<![^\W_])(?:{_LETTER}\.)+{_LETTER}(?![\w])\.?
      | (?<![^\W_])(?:[A-Z][a-z]?\.){{2,}}
      | (?<![^\W_])(?:{_ALWAYS.replace(" ", "|")})\.
      | (?<![^\W_])(?-i:{_CAPITAL.replace(" ", "|")})\.
      | (?<![^\W_])(?:{_BEFORE_NUMBER.replace(" ", "|")})\.(?=\s?\d)
      | (?<![^\W_]){_LETTER}\.(?!{_LETTER}|\s+(?-i:{_STARTERS.replace(" ", "|")})\b)
      | (?<![^\W_]){_LETTER}+\.(?=[,;:])
    )
  | (?P<suffix>{_SUFFIX}|n{_APOSTROPHE}t(?!{_LETTER}))
  | (?P<short_word>{_APOSTROPHE}(?:n{_APOSTROPHE}|em\b|cause\b))
  | (?P<word>
        {_LETTER}\w*?(?=n{_APOSTROPHE}t(?!{_LETTER}))
      | y{_APOSTROPHE}(?={_LETTER})
      | rock(?={_APOSTROPHE}n{_APOSTROPHE}roll)
      | {_LETTER}(?!{_SUFFIX}){_APOSTROPHE}{_WORD}(?:-\w+)*
      | {_WORD}(?:[-/&]\w+|\.{_LETTER}{{2,}}|_+\w*|(?!{_SUFFIX}){_APOSTROPHE}{_LETTER}+)*
      | _+\w*
    )
  | (?P<run>[?!]{{2,}})
  | (?P<dots>\.\.+|\u2026|[-\u2012\u2013\u2014\u2015]+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


@lru_cache(maxsize=65536)
def caption_tokens(text: str) -> tuple[str, ...]:
    """Lower-case tokens of ``text`` without punctuation; empty when nothing is left."""
    for entity, sign in {**_ENTITIES, **_FRACTIONS}.items():
        text = text.replace(entity, sign)
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind in ("space", "dots"):
            continue
        if kind == "other":
            if token in _QUOTES or ord(token) > 0xFFFF:
                continue
            token = _SIGNS.get(token, token)
        elif kind != "whole":
            token = token.replace("\u2019", "'")
        token = token.lower()
        if token and token not in _DROPPED:
            found.append(token)
    return tuple(found)
