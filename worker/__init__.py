"""The Celery worker: `celery -A worker worker` loads the app from `worker.celery`."""
