"""The terminal interface: full screen, serial menu. It asks the control socket, and nothing else."""
