"""What is built from searches: how well they find, measured as a whole."""
