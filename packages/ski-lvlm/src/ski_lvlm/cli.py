"""Command line of ski-lvlm."""


def main() -> int:
    return 0
