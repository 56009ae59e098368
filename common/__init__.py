"""What web, worker, training and cli agree on; imports neither Flask nor (outside `student`) torch."""
