"""Our own captioning engine: BLIP's vision tower and a beam search, over the weights of any BLIP captioner."""

from common.engine.engine import Caption, Engine
from common.engine.precision import Precision, PrecisionError, check, choose
from common.engine.search import Search

__all__ = ["Caption", "Engine", "Precision", "PrecisionError", "Search", "check", "choose"]
