"""Poses from pictures: 3D joints by MediaPipe in a process of its own, and where they are in 2D."""
