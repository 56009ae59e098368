"""Data sets: their formats, the images and captions as tensors, and the order they are learnt in."""
