"""The HTTP service: the verbs of the command line over the same engine, and the map page that asks it."""
