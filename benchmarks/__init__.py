"""The numbers in the documentation, one command each, and what they are compared with."""
