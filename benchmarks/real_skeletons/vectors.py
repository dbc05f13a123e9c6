"""Text vectors of a data set's classes: encoded once, then kept in the space that they span."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.real_skeletons.settings import PHRASES
from ski_data.errors import InputError
from ski_skeleton.text.sentence import SentenceConfig
from ski_skeleton.zeroshot.star import KINECT25_PARTS
from ski_skeleton.zeroshot.texts import (
    ClassTexts,
    TextConfig,
    class_texts,
    read_vectors,
    write_vectors,
)

MULTIPLE = 4
"""Widths are multiples of it, as STAR's attention heads need."""


def class_vectors(names: Sequence[str], model: str, path: Path) -> ClassTexts:
    """Vectors of names, verbs, nouns and body parts, from the file or from the sentence encoder.

    Args:
        names: the classes ``(K,)``.
        model: sentence encoder, a transformers id or a local folder.
        path: file that keeps them.
    """
    parts = tuple(KINECT25_PARTS)
    if not path.is_file():
        config = TextConfig(sentence=SentenceConfig(model), phrases=str(PHRASES))
        found = class_texts(config, names, words=True, part_names=parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_vectors(path, names, in_own_span(found))
    return read_vectors(path, names, words=True, parts=len(parts))


def in_own_span(texts: ClassTexts) -> ClassTexts:
    """The same vectors in an orthonormal basis of their span, padded with zeros.

    All lengths and inner products stay; only the width shrinks, and with it the cost of a training.
    """
    given = [value for value in texts if value is not None]
    rows = torch.cat([value.flatten(0, -2) for value in given]).double()
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    basis = basis[sizes > 1e-9 * sizes[0]]
    found = rows @ basis.T
    found = F.pad(found, (0, -found.shape[1] % MULTIPLE)).float()
    pieces = iter(found.split([value[..., 0].numel() for value in given]))
    return ClassTexts(
        *(
            None if value is None else next(pieces).reshape(*value.shape[:-1], found.shape[1])
            for value in texts
        )
    )


class VectorTower(nn.Module):
    """A frozen text tower that knows some texts by heart.

    Args:
        texts: what it knows ``(K,)``.
        vectors: of them ``(K, E)``.
    """

    vectors: Tensor

    def __init__(self, texts: Sequence[str], vectors: Tensor) -> None:
        super().__init__()
        self.rows = {text: row for row, text in enumerate(texts)}
        self.width = vectors.shape[1]
        self.register_buffer("vectors", F.normalize(vectors, dim=-1))

    def freeze(self) -> VectorTower:
        """It has nothing to train."""
        return self.eval()

    def unit_text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``(n, E)``.

        Raises:
            InputError: a text that it does not know.
        """
        unknown = [text for text in texts if text not in self.rows]
        if unknown:
            raise InputError(f"no vectors of {unknown}")
        return self.vectors[[self.rows[text] for text in texts]]
