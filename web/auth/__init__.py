"""API keys and scopes, sessions, rate limits, and protection against cross-site requests."""
