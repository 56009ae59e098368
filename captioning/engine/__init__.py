"""Captioning engine: vision encoder and beam search over the weights of any BLIP captioner."""

from captioning.engine.engine import Caption, Engine
from captioning.engine.precision import Precision, PrecisionError, check_precision, choose_precision
from captioning.engine.search import Search

__all__ = ["Caption", "Engine", "Precision", "PrecisionError", "Search", "check_precision", "choose_precision"]
