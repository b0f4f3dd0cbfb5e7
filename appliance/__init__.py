"""The control plane of Levee: configuration, rules, daemon, control socket, command line."""
