"""The Celery worker: `celery -A worker worker` finds its app in `worker.celery`."""
