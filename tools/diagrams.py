"""Draw the diagrams of ``docs/concepts.md``: ``python tools/diagrams.py``.

Each is an SVG of plain boxes, arrows and words, without fonts or scripts of other places. Colours
follow the reader's light or dark setting. Sizes suit a phone: 520 units wide, words of 15 units.
The same code writes the same bytes, and a test compares them with the files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).resolve().parents[1] / "docs/images"
WIDTH = 520
STYLE = """
svg { color-scheme: light dark; }
text { font: 15px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1f2933; }
.small { font-size: 13px; fill: #4a5763; }
.strong { font-weight: 600; }
rect { fill: #ffffff; stroke: #52606d; stroke-width: 1.3; }
.video { fill: #dbeafe; stroke: #1d4ed8; }
.skeleton { fill: #ffe8cc; stroke: #c2570c; }
.words { fill: #dcf5e3; stroke: #1b7f3b; }
.answer { fill: #efe4fb; stroke: #7a3fc0; }
.group { fill: none; stroke: #9aa5b1; stroke-dasharray: 5 4; }
.line { fill: none; stroke: #52606d; stroke-width: 1.6; }
.head { fill: #52606d; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e9ee; }
  .small { fill: #b4bfca; }
  rect { fill: #2b303b; stroke: #a3afbc; }
  .video { fill: #1b3358; stroke: #7fb0ff; }
  .skeleton { fill: #4a2c12; stroke: #ffb066; }
  .words { fill: #163d25; stroke: #6fd292; }
  .answer { fill: #3a2358; stroke: #c9a1ff; }
  .group { fill: none; stroke: #6b7785; }
  .line { stroke: #a3afbc; }
  .head { fill: #a3afbc; }
}
"""


@dataclass
class Drawing:
    """Shapes from the top left, in units of the picture.

    Attributes:
        title: What the picture is, for readers that speak.
        told: What it shows, in a sentence or two.
        height: Units from top to bottom.
    """

    title: str
    told: str
    height: int
    shapes: list[str] = field(default_factory=list)

    def box(self, x: int, y: int, width: int, height: int, kind: str, *lines: str) -> None:
        """A rounded box with lines in its middle: the first in bold, the others small."""
        self.shapes.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="7"/>'
        )
        middle = x + width // 2
        top = y + height // 2 + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(middle, top + 18 * number, line, "small" if number else "strong")

    def group(self, x: int, y: int, width: int, height: int, name: str) -> None:
        """A dashed frame with its name at the top left."""
        self.shapes.append(
            f'<rect class="group" x="{x}" y="{y}" width="{width}" height="{height}" rx="10"/>'
        )
        self.text(x + 12, y + 21, name, "strong", anchor="start")

    def text(self, x: int, y: int, words: str, kind: str = "", anchor: str = "middle") -> None:
        """Words on a line at ``y``."""
        name = f' class="{kind}"' if kind else ""
        self.shapes.append(
            f'<text{name} x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def arrow(self, *points: tuple[int, int], both: bool = False) -> None:
        """A line through points with a head at its end, or at both ends."""
        path = " L".join(f"{x} {y}" for x, y in points)
        start = ' marker-start="url(#head)"' if both else ""
        self.shapes.append(f'<path class="line" d="M{path}"{start} marker-end="url(#head)"/>')

    def bars(self, x: int, y: int, heights: tuple[int, ...], kind: str) -> None:
        """Bars that stand on a line at ``y``, one per class."""
        for number, height in enumerate(heights):
            self.shapes.append(
                f'<rect class="{kind}" x="{x + 18 * number}" y="{y - height}" width="13" '
                f'height="{height}"/>'
            )

    def svg(self) -> str:
        """The picture as a file."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" '
                f'width="{WIDTH}" height="{self.height}" role="img" aria-labelledby="title told">',
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="told">{escape(self.told)}</desc>',
                f"<style>{STYLE}</style>",
                '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
                'markerHeight="6" orient="auto-start-reverse"><path class="head" '
                'd="M0 0 L8 4 L0 8 Z"/></marker></defs>',
                *self.shapes,
                "</svg>",
                "",
            ]
        )


def overview() -> Drawing:
    """Skeletons guide the training; afterwards there is video alone."""
    d = Drawing(
        "Training with skeletons, use without",
        "In training, a video student and SkeletonCLIP answer for the same clip and the same class "
        "names, and distillation draws their answers to each other. In use, the student ranks any "
        "class names from RGB video alone.",
        500,
    )
    d.group(8, 8, 504, 288, "Training")
    d.box(24, 44, 140, 48, "video", "RGB video")
    d.box(190, 44, 140, 48, "words", "class names", "seen ones")
    d.box(356, 44, 140, 48, "skeleton", "3D skeletons")
    d.box(24, 140, 140, 60, "video", "video student", "such as ViFi-CLIP")
    d.box(356, 140, 140, 60, "skeleton", "SkeletonCLIP", "aligned with text")
    d.arrow((94, 92), (94, 138))
    d.arrow((426, 92), (426, 138))
    d.arrow((222, 92), (222, 120), (128, 120), (128, 138))
    d.arrow((298, 92), (298, 120), (392, 120), (392, 138))
    d.arrow((168, 170), (352, 170), both=True)
    d.text(260, 160, "SCD", "strong")
    d.text(260, 190, "logits over the names", "small")
    d.text(260, 207, "draw to each other", "small")
    d.arrow((94, 200), (94, 234))
    d.arrow((426, 200), (426, 234))
    d.box(24, 236, 140, 44, "answer", "right class?")
    d.box(356, 236, 140, 44, "answer", "right class?")
    d.group(8, 316, 504, 176, "Use")
    d.box(24, 352, 140, 48, "video", "RGB video", "any file or camera")
    d.box(24, 428, 140, 48, "words", "any names")
    d.box(208, 388, 130, 60, "video", "video student")
    d.box(382, 388, 114, 60, "answer", "ranked", "actions in time")
    d.arrow((164, 376), (186, 376), (186, 408), (206, 408))
    d.arrow((164, 452), (186, 452), (186, 428), (206, 428))
    d.arrow((338, 418), (380, 418))
    d.text(440, 470, "no skeleton", "small")
    return d


def skeleton_clip() -> Drawing:
    """Phase 1: a skeleton encoder in CLIP's text space."""
    d = Drawing(
        "SkeletonCLIP: a skeleton encoder in CLIP's text space",
        "A skeleton clip goes through Hyperformer to one vector of CLIP's text width. Prompts of "
        "the class names go through the frozen text tower. Cosines over a temperature are the "
        "logits, and cross entropy with the clip's class trains the encoder.",
        434,
    )
    d.box(24, 12, 216, 60, "skeleton", "skeleton clip", "(C=3, T, V, M), metres")
    d.box(280, 12, 216, 60, "words", "“a photo of a NAME.”", "K seen classes")
    d.box(24, 104, 216, 60, "skeleton", "Hyperformer", "learns; 216 channels")
    d.box(280, 104, 216, 60, "words", "CLIP text tower", "frozen, computed once")
    d.box(24, 196, 216, 60, "skeleton", "s", "linear head: (512)")
    d.box(280, 196, 216, 60, "words", "t", "(K, 512)")
    for x in (132, 388):
        d.arrow((x, 72), (x, 102))
        d.arrow((x, 164), (x, 194))
    d.arrow((132, 256), (132, 276), (214, 276), (214, 294))
    d.arrow((388, 256), (388, 276), (306, 276), (306, 294))
    d.box(140, 296, 240, 48, "answer", "cos(s, t) / τ", "logits (K)")
    d.arrow((260, 344), (260, 372))
    d.box(140, 374, 240, 48, "answer", "cross entropy", "with the clip’s class")
    return d


def distillation() -> Drawing:
    """SCD: both sides answer over the same names, and these answers are compared."""
    d = Drawing(
        "SkeletonCLIP distillation in the space of logits over class names",
        "The student's video vector and SkeletonCLIP's skeleton vector are each compared with "
        "texts of the same class names. Each side has a cross entropy, and alpha times the mean "
        "squared difference of the two rows of cosines ties them. Gradients reach both sides.",
        520,
    )
    d.box(24, 12, 216, 44, "video", "RGB video")
    d.box(280, 12, 216, 44, "skeleton", "its skeleton")
    d.box(24, 84, 216, 60, "video", "video student", "v, and texts of its tower")
    d.box(280, 84, 216, 60, "skeleton", "SkeletonCLIP", "s, and texts of its tower")
    d.arrow((132, 56), (132, 82))
    d.arrow((388, 56), (388, 82))
    d.box(155, 166, 210, 40, "words", "the same K names")
    d.arrow((200, 166), (200, 146))
    d.arrow((320, 166), (320, 146))
    d.arrow((100, 144), (100, 232))
    d.arrow((420, 144), (420, 232))
    d.group(24, 234, 472, 118, "language-contextualised logits")
    d.bars(62, 326, (18, 44, 12, 26, 8), "video")
    d.bars(372, 326, (14, 58, 20, 16, 6), "skeleton")
    d.text(104, 345, "F_LV = cos(v, t)", "small")
    d.text(414, 345, "F_LS = cos(s, t)", "small")
    d.arrow((166, 300), (358, 300), both=True)
    d.text(262, 290, "α · mean squared", "small")
    d.text(262, 321, "difference", "small")
    d.arrow((104, 352), (104, 384))
    d.arrow((414, 352), (414, 384))
    d.box(24, 386, 160, 46, "answer", "cross entropy", "of video")
    d.box(336, 386, 160, 46, "answer", "cross entropy", "of skeleton")
    d.arrow((262, 352), (262, 464))
    d.arrow((104, 432), (104, 486), (136, 486))
    d.arrow((414, 432), (414, 486), (384, 486))
    d.box(138, 466, 244, 42, "answer", "loss: the sum of the three")
    return d


def language_model() -> Drawing:
    """Tokens of video and skeleton in the prompt of a frozen language model."""
    d = Drawing(
        "SKI-LVLM: tokens of video and skeleton in a prompt",
        "Frames go through CLIP and pooling to 356 tokens, skeletons through SkeletonCLIP's "
        "encoder to 256 tokens, each through a trained linear projector to the width of the "
        "language model. They stand in the prompt between start and end tokens, before the frozen "
        "language model. At the test there are no skeleton tokens.",
        560,
    )
    d.box(16, 12, 150, 48, "words", "question")
    d.box(184, 12, 160, 48, "video", "video", "up to 100 frames")
    d.box(362, 12, 142, 48, "skeleton", "skeletons", "training alone")
    d.box(184, 90, 160, 60, "video", "CLIP ViT-L/14", "frozen; pooled")
    d.box(362, 90, 142, 60, "skeleton", "SkeletonCLIP", "frozen encoder")
    d.box(16, 90, 150, 60, "words", "tokenizer", "word embeddings")
    d.box(184, 180, 160, 60, "video", "projector T_v", "trained, linear")
    d.box(362, 180, 142, 60, "skeleton", "projector T_s", "trained, linear")
    for x in (91, 264, 433):
        d.arrow((x, 60), (x, 88))
    for x, words in ((264, "356 × 1024"), (433, "256 × 216")):
        d.arrow((x, 150), (x, 178))
        d.text(x + 8, 169, words, "small", anchor="start")
    d.arrow((91, 150), (91, 296))
    d.arrow((264, 240), (264, 296))
    d.arrow((433, 240), (433, 296))
    d.group(8, 272, 504, 100, "")
    d.box(20, 298, 92, 44, "words", "words")
    d.box(124, 298, 30, 44, "", "⟨")
    d.box(160, 298, 132, 44, "video", "video")
    d.box(298, 298, 30, 44, "", "⟩")
    d.box(340, 298, 30, 44, "", "⟨")
    d.box(376, 298, 92, 44, "skeleton", "skeleton")
    d.box(474, 298, 28, 44, "", "⟩")
    d.text(260, 362, "the prompt; ⟨ ⟩ are start and end tokens", "small")
    d.arrow((260, 372), (260, 402))
    d.box(110, 404, 300, 60, "", "language model", "frozen, such as LLaMA 7B: width 4096")
    d.arrow((260, 464), (260, 494))
    d.box(110, 496, 300, 48, "answer", "answer", "cross entropy of its tokens trains T_v, T_s")
    return d


DIAGRAMS = {
    "overview": overview,
    "skeleton_clip": skeleton_clip,
    "distillation": distillation,
    "language_model": language_model,
}


def main() -> None:
    """Write all diagrams."""
    for name, draw in DIAGRAMS.items():
        path = FOLDER / f"{name}.svg"
        path.write_text(draw().svg(), encoding="utf-8")
        print(path.relative_to(FOLDER.parents[1]))


if __name__ == "__main__":
    main()
