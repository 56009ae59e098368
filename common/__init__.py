"""What web, worker, captioning, training and cli share; imports neither Flask nor torch."""
