"""Problems whose answer is known."""
