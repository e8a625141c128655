"""The layer in the frameworks that people train in."""
