"""Demonstrations: each makes data whose truth is known, solves, and scores the answer."""
