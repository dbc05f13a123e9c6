"""Hop distances, spatial partition and hyperedge membership of a skeleton graph."""

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


def spatial_partition(edges: Sequence[tuple[int, int]], joints: int, centre: int) -> Tensor:
    """ST-GCN's adjacency in three subsets: a joint itself, centripetal and centrifugal neighbours.

    Columns receive and rows give; each column of the sum over subsets adds up to 1. Subset 1 has
    the neighbours that are further from the centre than the receiving joint or as far, subset 2
    the nearer ones. As in the published graph (``graph/ntu_rgb_d.py`` of ST-GCN and its
    descendants), distances are known up to one bone: all joints that do not touch the centre
    count as equally far.

    Args:
        edges: undirected bones as pairs of joint indices; self loops are ignored.
        joints: number of joints V.
        centre: joint that distances are taken from.

    Returns:
        float32 ``(3, V, V)``.

    Raises:
        ConfigError: an index out of range, or joints that no path connects.
    """
    hops = hop_distances(edges, joints)
    near = (hops <= 1).float()
    share = near / near.sum(0, keepdim=True)
    far = hops[centre].clamp(max=2)
    row, column = far[:, None], far[None, :]
    neighbour = hops == 1
    subsets = (hops == 0, neighbour & (row >= column), neighbour & (row < column))
    return torch.stack([share * subset for subset in subsets])


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
