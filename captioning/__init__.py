"""Captioning without the service: student models, the engine that runs them, preprocessing, download of weights.

Only this package and `training` import torch. `captioner`, `remote`, `stream`, `preprocessing` and `download` do not
need it.
"""
