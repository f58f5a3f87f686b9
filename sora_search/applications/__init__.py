"""What is built from searches: groups of duplicates, and how well searches find, measured."""
