"""What a joint layout is: joints, bones, the pairs that swap in a mirror, unit and axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ski_data.errors import InputError

Pairs = tuple[tuple[int, int], ...]

UNITS: dict[str, float | None] = {
    "metres": 1.0,
    "centimetres": 0.01,
    "millimetres": 0.001,
    "pixels": None,
}
"""Metres in a unit; pixels are no length."""


@dataclass(frozen=True)
class Layout:
    """The joints of a skeleton and how they hang together; joint numbers are from 0.

    Attributes:
        name: What users write.
        joints: Joint names.
        centre: The joint that streams are relative to.
        edges: Bones of the model's graph, without direction; every joint hangs together.
        bone_pairs: (child, parent) of the bone stream; each joint but the centre is a child once.
        groups: Hyperedge of each joint, from 0 without gaps.
        left_right: Pairs that swap when the body is mirrored.
        axes: Where the target's x (right), y (up) and z come from in data as published in this
            layout, for example ``("x", "-y", "-z")`` where y points down.
        unit: Of the coordinates as published: a key of ``UNITS``.
    """

    name: str
    joints: tuple[str, ...]
    centre: int
    edges: Pairs
    bone_pairs: Pairs
    groups: tuple[int, ...]
    left_right: Pairs
    axes: tuple[str, str, str] = ("x", "y", "z")
    unit: str = "metres"

    def __post_init__(self) -> None:
        count = len(self.joints)
        pairs = (*self.edges, *self.bone_pairs, *self.left_right)
        used = {joint for pair in pairs for joint in pair}
        problems = []
        if len(set(self.joints)) != count:
            problems.append("joint names repeat")
        if not all(0 <= j < count for j in (*used, self.centre)):
            problems.append(f"joint numbers must be in 0..{count - 1}")
        elif sorted(child for child, _ in self.bone_pairs) != [
            j for j in range(count) if j != self.centre
        ]:
            problems.append("every joint but the centre must be the child of one bone pair")
        elif len(_tree(self.edges, self.centre)) != count - 1:
            problems.append("edges must connect all joints")
        elif len(_tree(self.bone_pairs, self.centre)) != count - 1:
            problems.append("bone pairs must lead from every joint to the centre")
        if len(self.groups) != count or set(self.groups) != set(range(max(self.groups) + 1)):
            problems.append(f"groups must give each of the {count} joints a group from 0, no gaps")
        if len({j for pair in self.left_right for j in pair}) != 2 * len(self.left_right):
            problems.append("a joint stands in two left-right pairs")
        if self.unit not in UNITS:
            problems.append(f"unit must be one of {', '.join(UNITS)}, not {self.unit!r}")
        if problems:
            raise InputError(f"layout {self.name}: " + "; ".join(problems))
        axes_matrix(self.axes)

    @property
    def mirror(self) -> np.ndarray:
        """(V,) joint order of the mirrored body."""
        order = np.arange(len(self.joints))
        for left, right in self.left_right:
            order[left], order[right] = right, left
        return order


def axes_matrix(axes: Sequence[str]) -> np.ndarray:
    """(3, 3) matrix that turns column vectors so that their new x, y, z come from ``axes``.

    Args:
        axes: Three of ``x``, ``y``, ``z``, each once, each with or without a minus sign.

    Raises:
        InputError: Another form, or axes that mirror the body (left would become right).
    """
    matrix = np.zeros((3, 3), np.float32)
    axes = tuple(str(axis) for axis in axes)
    if len(axes) != 3 or sorted(axis.lstrip("-+") for axis in axes) != ["x", "y", "z"]:
        raise InputError(
            f"axes must name x, y and z once each, with or without a minus, not {list(axes)}; "
            "z-up data, for example: [x, z, -y]"
        )
    for row, axis in enumerate(axes):
        matrix[row, "xyz".index(axis[-1])] = -1 if axis[0] == "-" else 1
    if np.linalg.det(matrix) < 0:
        raise InputError(
            f"axes {list(axes)} mirror the body, so left would become right; flip one more sign"
        )
    return matrix


def _tree(edges: Pairs, centre: int) -> Pairs:
    """(child, parent) pairs of the graph, walked from the centre breadth first."""
    parent = {centre: centre}
    queue = [centre]
    for joint in queue:
        for a, b in edges:
            for here, there in ((a, b), (b, a)):
                if here == joint and there not in parent:
                    parent[there] = joint
                    queue.append(there)
    return tuple((child, up) for child, up in parent.items() if child != centre)


def build_layout(
    name: str,
    joints: str,
    centre: int,
    edges: Pairs,
    parts: Sequence[Sequence[int]],
    left_right: Pairs,
    axes: tuple[str, str, str] = ("x", "y", "z"),
    unit: str = "metres",
) -> Layout:
    """A layout whose bone pairs are the graph walked from the centre; ``parts`` are the groups."""
    names = words(joints)
    groups = tuple(
        next(g for g, part in enumerate(parts) if joint in part) for joint in range(len(names))
    )
    return Layout(name, names, centre, edges, _tree(edges, centre), groups, left_right, axes, unit)


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


def from_parents(parents: Sequence[int]) -> Pairs:
    """(child, parent) pairs from the parent of each joint, -1 for the root."""
    return tuple((child, parent) for child, parent in enumerate(parents) if parent >= 0)
