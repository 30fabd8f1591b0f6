"""Benchmarks on a real dockerd: ours, the bare SDK (the floor) and Swarm mode (the peer), interleaved
in one run and printed as ratios. They print; they do not judge."""
