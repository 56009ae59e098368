"""Our own captioning engine: BLIP's vision tower and a beam search, over the weights of any BLIP captioner."""

from captioning.engine.engine import Caption, Engine
from captioning.engine.precision import Precision, PrecisionError, check, choose
from captioning.engine.search import Search

__all__ = ["Caption", "Engine", "Precision", "PrecisionError", "Search", "check", "choose"]
