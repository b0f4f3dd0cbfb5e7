"""The demo: a spoofed flood to watch, without and with Levee. Started by demo.py."""
