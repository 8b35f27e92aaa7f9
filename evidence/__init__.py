"""Experiments on the receiver: promises under faults and attacks, performance, cost and scale. No product code."""
