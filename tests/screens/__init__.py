"""Pictures of the terminal interface, and the recorded box they are made of."""
