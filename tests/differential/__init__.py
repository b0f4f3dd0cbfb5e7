"""The reference and the data plane side by side: same packets in, same packets out."""
