"""The contract with the user: one YAML file, checked as a whole before anything runs."""
