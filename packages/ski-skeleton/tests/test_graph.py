from __future__ import annotations

import floyd_warshall as reference
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ski_data.layouts import get_layout
from ski_skeleton.errors import ConfigError
from ski_skeleton.graph import group_average, hop_distances, spatial_partition


def test_longest_path_of_the_kinect_graph():
    layout = get_layout("kinect25")
    assert int(hop_distances(layout.edges, 25).max()) == 11


@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_equals_floyd_warshall(joints, random):
    edges = [(random.randrange(i), i) for i in range(1, joints)]
    edges += [(random.randrange(joints), random.randrange(joints)) for _ in range(3)]
    assert hop_distances(edges, joints).tolist() == reference.floyd_warshall(edges, joints)


def test_unconnected_joint_is_named():
    with pytest.raises(ConfigError, match=r"\[2\]"):
        hop_distances([(0, 1)], 3)


def test_edge_out_of_range_is_named():
    with pytest.raises(ConfigError, match=r"\(0, 7\)"):
        hop_distances([(0, 7)], 3)


def test_average_over_groups():
    matrix = group_average([0, 1, 0, 1, 1])
    torch.testing.assert_close(matrix @ torch.arange(5.0), torch.tensor([1.0, 8 / 3]))


def test_labels_with_a_gap_are_refused():
    with pytest.raises(ConfigError, match="without gaps"):
        group_average([0, 2])


@given(st.integers(2, 9), st.integers(0, 8), st.randoms(use_true_random=False))
def test_partition_of_neighbours(joints, centre, random):
    centre %= joints
    edges = [(random.randrange(i), i) for i in range(1, joints)]
    edges += [(random.randrange(joints), random.randrange(joints)) for _ in range(3)]
    neighbours = {frozenset(edge) for edge in edges}
    degree = [1 + sum({i, j} in neighbours for i in range(joints) if i != j) for j in range(joints)]

    def known(joint):  # distance to the centre, all alike beyond one bone
        if joint == centre:
            return 0
        return 1 if {joint, centre} in neighbours else 2

    wanted = torch.zeros(3, joints, joints)
    for row in range(joints):
        for column in range(joints):
            if row == column:
                wanted[0, row, column] = 1 / degree[column]
            elif {row, column} in neighbours:
                subset = 1 if known(row) >= known(column) else 2
                wanted[subset, row, column] = 1 / degree[column]
    torch.testing.assert_close(spatial_partition(edges, joints, centre), wanted)
