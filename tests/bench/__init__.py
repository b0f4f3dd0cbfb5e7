"""The benchmark: SYNs answered and established throughput, three peers, one set of namespaces."""
