"""An existing Globus Compute ``config.yaml``, taken as it is: its variables, what it says, whether that is right."""
