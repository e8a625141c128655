"""The question and its answer: unknowns, settings, problem files, collocation, solution."""
