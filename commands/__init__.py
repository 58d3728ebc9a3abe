"""The commands of `geo`, a file per noun; with cli.py the only code that prints or reads the environment."""
