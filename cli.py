"""The command `geo`: parses, calls one function, prints."""


def main() -> None:
    """Run the command line."""
