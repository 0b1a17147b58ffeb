"""The `faas` command: what people type. One file for each sub-command, all of it behind `app.main`."""
