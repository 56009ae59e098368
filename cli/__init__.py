"""The command line: `captiond serve`, `captiond caption`, `captiond doctor`."""
