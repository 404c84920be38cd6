"""The API process: HTTP around the endpoints, and the page."""
