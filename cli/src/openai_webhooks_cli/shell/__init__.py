"""How the commands behave in a terminal: options, exit status, output, signals, times."""
