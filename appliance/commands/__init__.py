"""The commands of `levee`, one file each, with a function `execute(arguments) -> exit code`."""
