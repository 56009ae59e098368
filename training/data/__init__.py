"""Data sets: formats, readers, augmentation, tensors and sampling order."""
