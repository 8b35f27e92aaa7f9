"""Cost and scale of a deployment, computed from measurements, list prices and quotas."""
