"""`python -m crossgeo`, the same as `geo`."""

from crossgeo.cli import main

if __name__ == "__main__":
    main()
