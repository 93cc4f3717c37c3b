"""How long operations and steps take, on one device and over many."""
