"""The whole system on this machine: both stacks on an embedded AWS, for the commands `demo` and `dev`."""
