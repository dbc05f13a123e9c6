"""Whether a video file ends where its own structure says, for containers that count no frames."""

from __future__ import annotations

_MAX_BOXES = 1 << 20


def fragments_are_whole(path: str, size: int) -> bool:
    """Whether an mp4 file in fragments ends with their index (mfra), so that none is missing."""
    at, last = 0, b""
    with open(path, "rb") as file:
        for _ in range(_MAX_BOXES):
            if at + 8 > size:
                break
            file.seek(at)
            head = file.read(16)
            length, last = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:  # a long one follows
                length = int.from_bytes(head[8:], "big")
            if length < 8:  # to the end of the file, or nonsense
                return False
            at += length
    return at == size and last == b"mfra"


def matroska_is_short(path: str, size: int) -> bool:
    """Whether a Matroska file is shorter than its segment says; live recordings do not say."""
    with open(path, "rb") as file:
        head = file.read(4096)
    at = length = 0
    unknown = False
    for _ in range(2):  # the EBML header, then the segment
        at += length
        id_bytes = _vint_bytes(head, at)
        size_bytes = _vint_bytes(head, at + id_bytes)
        if at + id_bytes + size_bytes > len(head):
            return False  # not the plain beginning that every muxer writes
        field = head[at + id_bytes : at + id_bytes + size_bytes]
        mask = (1 << 7 * size_bytes) - 1
        length = int.from_bytes(field, "big") & mask
        unknown = length == mask
        at += id_bytes + size_bytes
    return not unknown and at + length > size


def _vint_bytes(data: bytes, at: int) -> int:
    """Bytes of EBML's number at a place: one more than its first byte has leading zero bits."""
    return 9 - data[at].bit_length() if at < len(data) and data[at] else len(data) + 1
