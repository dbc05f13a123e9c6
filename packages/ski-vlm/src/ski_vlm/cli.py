"""Command line of ski-vlm."""


def main() -> int:
    return 0
