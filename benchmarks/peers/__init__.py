"""Other ways to serve the same model, each as its makers' documentation shows it."""
