"""Watching directories for completed files, wherever that is done: in the service, at a site, on a DAQ host."""
