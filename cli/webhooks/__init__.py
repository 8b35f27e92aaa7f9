"""`webhooks`, the developer's command: send signed deliveries, and run the whole chain on this machine."""
