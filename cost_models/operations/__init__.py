"""What a step asks of a machine: canonical operations, from modules, closed forms and files."""
