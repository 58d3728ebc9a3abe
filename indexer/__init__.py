"""Imagery to an index and back: sources, blocks, tiles, descriptors, search, and a build that survives being killed."""
