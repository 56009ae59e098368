"""Captioning without a service: the student, the engine that runs it, preprocessing, and where the weights come from.

Only this package and `training` import torch. `captioning.preprocessing` and `captioning.download` do without it.
"""
