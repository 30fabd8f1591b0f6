"""One module per command, named like it, with a click command called `command`."""
