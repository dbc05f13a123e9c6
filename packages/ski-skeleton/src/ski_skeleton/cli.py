"""Command line of ski-skeleton."""


def main() -> int:
    return 0
