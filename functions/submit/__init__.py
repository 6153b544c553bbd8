"""Takes photos and requests from the queue and submits each as a task."""
