"""The test network of Levee: namespaces, the appliance inside them, traffic and captures.

Used by lab.py (command line), by the pytest fixtures of tests/lab and by tests/demo.
Only the standard library is imported by what `lab.py` needs, so the lab comes up without a
virtual environment; modules that need Scapy say so in their header.
"""
