"""Captions of a model that a server runs: vLLM, llama.cpp, Ollama and others. Imports no torch."""

from captioning.remote.captioner import RemoteCaptioner

__all__ = ["RemoteCaptioner"]
