"""Deliveries that an attacker could send, and what they could learn from the answers."""
