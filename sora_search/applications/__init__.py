"""What is built on representation and retrieval: retrieval measured as a whole, the demo."""
