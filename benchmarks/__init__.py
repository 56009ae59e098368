"""The benchmarks behind the figures in the documentation, and the servers that the service is compared with."""
