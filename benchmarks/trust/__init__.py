"""Random questions, noise of many kinds and wrong equations: how far the answers can be trusted."""
