"""An existing Globus Compute ``config.yaml``, taken as it is: its variables, what it says, and whether that is right."""
