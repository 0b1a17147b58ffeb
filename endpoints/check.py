"""`faas endpoint check`: everything that has to be right for an endpoint to run, tried one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from endpoints.check_block import try_block
from endpoints.check_service import check_proxy, check_service
from endpoints.check_site import check_disk, check_environments, check_locations, check_python, check_scheduler
from endpoints.configuration import Configuration, load_credentials
from endpoints.findings import Finding, failed, ok
from endpoints.places import Places
from endpoints.profiles import check_profile
from faas.errors import ConfigurationError, FaasError


def check_endpoint(
    places: Places, *, block: bool, block_wait_s: float, progress: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Look at an endpoint from all sides; an agent that runs is not disturbed.

    Args:
        places: the endpoint's files.
        block: whether to start one block, and run a call that does nothing in it.
        block_wait_s: how long to wait for its workers.
        progress: told what is waited for.

    Yields:
        What was found, as soon as it is.
    """
    try:
        configuration = Configuration.load(places)
        check_profile(configuration)
    except ConfigurationError as error:
        yield failed("configuration", str(error))
        return
    yield ok("configuration", str(places.configuration))
    checks: list[Callable[[], Iterator[Finding]]] = [check_python, lambda: check_environments(configuration)]
    try:
        credentials = load_credentials(places)
    except ConfigurationError as error:
        yield failed("credentials", str(error))
    else:
        checks += [lambda: check_proxy(credentials), lambda: check_service(credentials)]
    checks += [lambda: check_disk(configuration, places), lambda: check_locations(configuration)]
    checks.append(lambda: check_scheduler(configuration, places))
    if block:
        checks.append(lambda: try_block(configuration, places, block_wait_s, progress))
    for check in checks:
        try:
            yield from check()
        except FaasError as error:
            yield failed("check", str(error))
