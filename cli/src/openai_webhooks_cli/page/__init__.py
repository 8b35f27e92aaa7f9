"""A page that shows deliveries and events as they happen, and what became of them."""
