"""The command line: `captiond serve`, `caption`, `doctor`, `keys` and `webhook-secret`."""
