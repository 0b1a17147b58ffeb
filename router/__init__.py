"""What goes where: the service. API, authentication, dispatch, policies and the object store."""
