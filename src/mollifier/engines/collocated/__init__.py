"""What the joint and the network engine share: the equation at collocation nodes."""
