"""What developers run by hand, and what is no test."""
