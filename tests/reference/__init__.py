"""A SYN proxy for one connection at a time: the readable specification of the data plane."""
