"""Decoding of images in separate processes with limits of memory and time. See `common.images.sandbox`."""
