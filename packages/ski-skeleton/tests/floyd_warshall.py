"""Shortest paths by another algorithm than the one under test."""

from __future__ import annotations


def floyd_warshall(edges, joints):
    distance = [[0 if i == j else 99 for j in range(joints)] for i in range(joints)]
    for a, b in edges:
        if a != b:
            distance[a][b] = distance[b][a] = 1
    for k in range(joints):
        for i in range(joints):
            for j in range(joints):
                distance[i][j] = min(distance[i][j], distance[i][k] + distance[k][j])
    return distance
