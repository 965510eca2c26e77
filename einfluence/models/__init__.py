"""What a base is, what its files hold, and what must be true of it once it is loaded."""
