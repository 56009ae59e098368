"""ZIP archives of batches: reading them within limits, and creating a job for each of their images."""
