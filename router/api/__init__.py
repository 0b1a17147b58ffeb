"""The HTTP API, one file for each noun; ``routes`` says what a route is."""
