"""What is on the screen, as lines of text: no toolkit is imported here."""
