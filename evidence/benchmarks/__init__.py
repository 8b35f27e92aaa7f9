"""`make bench`: the receiver compared with other ways to build it, by measurement."""
