"""Stored answers of the published caption metrics, for the tests of ski-eval.

    python tools/caption_cases.py packages/ski-eval/tests/golden/captions.json

Needs ``pycocoevalcap`` 1.2 and a Java runtime, in an environment of its own:

    python -m venv captions-env && captions-env/bin/pip install pycocoevalcap
"""

from __future__ import annotations

import argparse
import json
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PLAIN = {
    "open": (
        "A man opens the door.",
        ["A person opens a door and walks in.", "The man is opening the door."],
    ),
    "pour": (
        "The woman pours some water into a glass, then drinks it.",
        ["A woman pours water in a glass.", "She pours a glass of water and drinks."],
    ),
    "sit": ("Someone sits on the sofa", ["A person sits down on the couch, reading a book."]),
    "sweep": (
        "a person is sweeping the floor with a broom",
        ["A person sweeps the floor.", "someone sweeping the floor with a broom", "Sweeping."],
    ),
    "phone": (
        "He is talking on the phone while he's standing in the kitchen.",
        ["A man talks on his phone in the kitchen, he doesn't sit."],
    ),
}
AWKWARD = {
    "empty": ("", ["A man opens the door.", "He enters."]),
    "punctuation only": ("...!?", ["The person waits."]),
    "one word": ("Sweeping", ["sweeping", "A person sweeps the floor."]),
    "repeated": ("the the the the the the the", ["The cat is on the mat.", "the the dog"]),
    "unicode": ("Ein Mädchen trinkt “Café” – schön!", ["ein mädchen trinkt café", "Привет мир"]),
    "many": (
        "A person takes a cup from the table.",
        [f"person {i} takes {'a ' * (i % 3)}cup from table number {i}" for i in range(12)],
    ),
    "punctuation": (
        "Well-known: \"he said (loudly) 'no!'\"; it wasn't the dog's U.S. toy, e.g. Mr. X's...",
        ["he said loudly no, it was not the dog 's u.s. toy"],
    ),
    "numbers": (
        "It cost $1,000.50 (50%) at 10:30 on 12/25, for 3 kids aged 1/2.",
        ["it cost 1,000.50 dollars at 10:30", "3 kids, 50 % of $ 1,000.50"],
    ),
    "identical": ("A person closes the fridge.", ["A person closes the fridge."]),
    "nothing shared": ("quick brown foxes jump", ["A person closes the window."]),
    "longer": (
        "A person walks into the room and puts a bag on the table and then takes it and leaves.",
        ["Person puts bag on table.", "A person walks into the room and leaves."],
    ),
}
SETS = {
    "plain": PLAIN,
    "awkward": AWKWARD,
    "both": {**PLAIN, **AWKWARD},
    "one clip": {"open": PLAIN["open"]},
    "no match": {"nothing shared": AWKWARD["nothing shared"], "sit": ("x y z", ["a b c d"])},
}
TEXTS = [
    "A person's hat isn't red, they're going to the U.S. now.",
    "It cost $5.00 or £3 or €7, about 50% of 1,000.50 kg.",
    "He can't, won't, cannot, gonna, wanna, gotta, lemme, gimme, 'tis, ain't",
    "I'd I'll I've I'm we're she's dogs' the '90s",
    "Mr. Smith and Dr. Jones vs. Mrs. Brown etc. e.g. i.e. a.m. p.m. Jr. St. No. 5",
    "Wait... what?! No!! well -- yes - no — em–en",
    "well-known half-eaten t-shirt x-ray 3-year-old and/or 1/2 12/25/2010 10:30 10:30am 5pm",
    "(parentheses) [brackets] {braces} <tag> \"quoted\" 'single' “smart” ‘single’ it’s don’t",
    "Über café naïve 日本語 テキスト emoji 😀 ½ ¾ ñandú Привет мир",
    "1st 2nd 3rd 20th 1990s '99 100km 6ft +1 -5 1.5 .5 0.5. 1,2,3 555-1234",
    "foo@bar.com http://www.example.com/a?b=c www.x.org #hashtag @user AT&T R&D & * + =",
    "rock 'n' roll o'clock O'Brien, he says \"yes\", she says 'no' and they'd've left.",
    "this is plan B. Then he left. Vitamin c. and d; it is I. The end",
    "TV's CDs' 1980's A's the boys' mother-in-law's up-to-date e-mail",
    "   spaces\tand\ttabs   ",
    ".",
    "",
]


def reference_tokens(texts: list[str]) -> list[str]:
    """Each text's tokens joined by spaces, by the published tokenizer."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    found = PTBTokenizer().tokenize({i: [{"caption": t}] for i, t in enumerate(texts)})
    return [found[i][0] for i in range(len(texts))]


def case(clips: dict[str, tuple[str, list[str]]]) -> dict[str, Any]:
    """Texts, tokens and the published metrics of one set of clips."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge

    own = dict(zip(clips, reference_tokens([p for p, _ in clips.values()]), strict=True))
    flat = iter(reference_tokens([text for _, group in clips.values() for text in group]))
    theirs = {name: [next(flat) for _ in group] for name, (_, group) in clips.items()}
    results = {name: [text] for name, text in own.items()}
    bleu, bleu_each = Bleu(4).compute_score(theirs, results, verbose=0)
    rouge, rouge_each = Rouge().compute_score(theirs, results)
    cider, cider_each = Cider().compute_score(theirs, results)
    meteor, meteor_each = Meteor().compute_score(theirs, results)
    return {
        "predictions": {name: text for name, (text, _) in clips.items()},
        "references": {name: group for name, (_, group) in clips.items()},
        "tokens": {name: [own[name], *theirs[name]] for name in clips},
        "scores": {
            **{f"BLEU-{n + 1}": float(value) for n, value in enumerate(bleu)},
            "ROUGE-L": float(rouge),
            "CIDEr-D": float(cider),
            "METEOR": float(meteor),
        },
        "each": {
            **{f"BLEU-{n + 1}": [float(v) for v in line] for n, line in enumerate(bleu_each)},
            "ROUGE-L": [float(v) for v in rouge_each],
            "CIDEr-D": [float(v) for v in cider_each],
            "METEOR": [float(v) for v in meteor_each],
        },
    }


def main() -> None:
    """Write the cases to the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
    content = {
        "made by": "tools/caption_cases.py",
        "reference": f"pycocoevalcap {version('pycocoevalcap')}, Stanford CoreNLP 3.4.1",
        "java": java.stderr.splitlines()[0],
        "texts": dict(zip(TEXTS, reference_tokens(TEXTS), strict=True)),
        "sets": {name: case(clips) for name, clips in SETS.items()},
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
