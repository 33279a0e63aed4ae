"""What the probe of the page and those who ask it must agree on; importing it wraps nothing."""

PROBE = "benchmarks.peers.page_probe"
PROBE_PATH = "/probe"
FIRST = 10_000_000
"""Volumes of updates: FIRST plus their number; those of history are below."""
