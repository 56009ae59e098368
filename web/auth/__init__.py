"""Who may do what: API keys and scopes, sessions, rate limits, and defences against other sites' requests."""
