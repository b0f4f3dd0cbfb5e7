"""The data plane of Levee: Cython modules over the packet logic in core/."""
