"""Modules that the other packages share. They import neither Flask nor torch."""
