"""Other servers for the same model, each as its own documentation shows it."""
