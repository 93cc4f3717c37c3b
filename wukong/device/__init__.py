"""What this process computes on: device and precision, memory."""
