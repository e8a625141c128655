"""Problems that carry their truth, and runners that print tables."""
