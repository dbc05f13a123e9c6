"""Command line of ski-eval."""


def main() -> int:
    return 0
