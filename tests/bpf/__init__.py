"""The BPF programs by BPF_PROG_RUN, compared with the same packets through the nfqueue engine's path."""
