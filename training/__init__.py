"""Distils students: `python -m training.distill`, scores them, writes the folder that the worker loads."""
