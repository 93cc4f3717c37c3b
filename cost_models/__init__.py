"""What a design costs, known before anything is launched."""
