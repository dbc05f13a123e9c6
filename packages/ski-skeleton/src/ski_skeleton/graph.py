"""Hop distances and hyperedge membership of a skeleton graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ski_skeleton.errors import ConfigError


def hop_distances(edges: Sequence[tuple[int, int]], joints: int) -> Tensor:
    """Number of bones on the shortest path between every two joints.

    Args:
        edges: undirected bones as pairs of joint indices; self loops are ignored.
        joints: number of joints V.

    Returns:
        int64 ``(V, V)``, zero on the diagonal.

    Raises:
        ConfigError: an index out of range, or joints that no path connects.
    """
    neighbours: list[set[int]] = [set() for _ in range(joints)]
    for a, b in edges:
        if not (0 <= a < joints and 0 <= b < joints):
            raise ConfigError(f"edge ({a}, {b}) names a joint outside 0..{joints - 1}")
        if a != b:
            neighbours[a].add(b)
            neighbours[b].add(a)
    distances = torch.full((joints, joints), -1, dtype=torch.long)
    for start in range(joints):
        reached, frontier, distance = {start}, {start}, 0
        while frontier:
            distances[start, list(frontier)] = distance
            frontier = {n for joint in frontier for n in neighbours[joint]} - reached
            reached |= frontier
            distance += 1
        if len(reached) < joints:
            alone = sorted(set(range(joints)) - reached)
            raise ConfigError(f"joints {alone} are not connected to joint {start}; add their bones")
    return distances


def group_average(groups: Sequence[int]) -> Tensor:
    """Matrix ``(G, V)`` that averages joints over their hyperedge.

    Raises:
        ConfigError: labels that are not exactly 0..G-1.
    """
    labels = torch.as_tensor(groups)
    count = int(labels.max()) + 1
    if sorted(set(labels.tolist())) != list(range(count)):
        raise ConfigError(f"hyperedge labels must be 0..G-1 without gaps, got {list(groups)}")
    member = torch.nn.functional.one_hot(labels, count).T.float()
    return member / member.sum(1, keepdim=True)
