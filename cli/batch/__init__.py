"""`captiond batch`: captions of many files and folders, in this process or through a running service."""


class BatchError(Exception):
    """The run cannot begin or go on; its only argument is a `Message` that says why and what to do."""
