"""What can be said of a problem before it is solved."""
