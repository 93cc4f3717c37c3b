"""Models of the user's own: found by name, counted by tracing, trained as Wukong is."""
