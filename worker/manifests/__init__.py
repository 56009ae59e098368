"""Manifests: cutting them into chunks, reading the rows of a chunk, and writing its results."""
