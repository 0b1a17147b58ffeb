"""Who may call what: every route, with every scope, and with tokens that are no good."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from faas import codec
from faas.models import CreateToken, Nothing, RegisterEndpoint, Token, WhoAmI
from tests.unit.router.callers import Agent, Caller, Federation, refused

pytestmark = pytest.mark.anyio

ALLOWED = {
    "GET /v1/whoami": "client submit endpoint admin",
    "POST /v1/functions": "client",
    "GET /v1/functions": "client submit",
    "GET /v1/functions/{function}": "client submit endpoint",
    "GET /v1/functions/{function_id}/code": "client endpoint",
    "POST /v1/endpoints": "client",
    "GET /v1/endpoints": "client submit",
    "GET /v1/endpoints/{endpoint}": "client",
    "DELETE /v1/endpoints/{endpoint}": "client",
    "POST /v1/pools": "client",
    "GET /v1/pools": "client submit",
    "GET /v1/pools/{name}": "client",
    "DELETE /v1/pools/{name}": "client",
    "POST /v1/tokens": "client",
    "GET /v1/tokens": "client",
    "DELETE /v1/tokens/{token_id}": "client",
    "POST /v1/identities": "admin",
    "GET /v1/identities": "admin",
    "POST /v1/tasks": "client submit",
    "POST /v1/tasks/search": "client",
    "POST /v1/tasks/cancel": "client",
    "GET /v1/tasks/{task_id}": "client",
    "GET /v1/tasks/{task_id}/result": "client",
    "GET /v1/tasks/{task_id}/explain": "client",
    "POST /v1/tasks/{task_id}/logs": "client",
    "GET /v1/groups/{group_id}": "client",
    "GET /v1/groups/{group_id}/results": "client",
    "POST /v1/objects": "client submit",
    "GET /v1/objects": "client",
    "GET /v1/objects/{object_id}": "client",
    "GET /v1/objects/{object_id}/info": "client",
    "GET /v1/objects/{object_id}/upload": "client submit",
    "POST /v1/objects/{object_id}/parts": "client submit",
    "POST /v1/objects/{object_id}/complete": "client submit",
    "POST /v1/objects/{object_id}/keep": "client",
    "DELETE /v1/objects/{object_id}": "client submit",
    "POST /v1/locations": "admin",
    "GET /v1/locations": "client admin",
    "DELETE /v1/locations/{name}": "admin",
    "POST /v1/triggers": "client",
    "GET /v1/triggers": "client",
    "POST /v1/triggers/trial": "client",
    "GET /v1/triggers/{trigger}": "client",
    "DELETE /v1/triggers/{trigger}": "client",
    "POST /v1/triggers/{trigger}/pause": "client",
    "POST /v1/triggers/{trigger}/resume": "client",
    "POST /v1/triggers/{trigger}/trial": "client",
    "POST /v1/triggers/{trigger}/replay": "client",
    "GET /v1/triggers/{trigger}/events": "client",
    "POST /v1/triggers/{trigger}/events": "client submit",
    "GET /v1/triggers/{trigger}/datasets": "client",
    "GET /v1/usage": "client",
    "GET /v1/history/tasks": "client",
    "GET /v1/history/blocks": "client",
    "GET /v1/activity": "client",
    "POST /v1/sessions": "endpoint",
    "POST /v1/sessions/{session_id}/lease": "endpoint",
    "POST /v1/sessions/{session_id}/grants": "endpoint",
    "POST /v1/sessions/{session_id}/report": "endpoint",
    "POST /v1/sessions/{session_id}/heartbeat": "endpoint",
    "POST /v1/sessions/{session_id}/logs": "endpoint",
    "DELETE /v1/sessions/{session_id}": "endpoint",
    "GET /v1/openapi.json": "client submit endpoint",
}
"""The contract: what each scope may call. An admin may also do what a client may."""
OPEN = {"GET /v1/health"}
SIGNED = {f"{method} /v1/store/{{key:path}}" for method in ("GET", "HEAD", "PUT")}
SECRET = {"POST /v1/triggers/{trigger_id}/deliveries/{secret}"}
"""Stores that post events have no token: the path is the secret."""


def routes_of(app: Any) -> set[str]:
    """Every route as ``GET /path``; fails on whatever else answers requests."""
    found: set[str] = set()
    for route in app.routes:
        included = getattr(route, "original_router", None)  # newer FastAPI keeps included routers whole
        if included is not None:
            found |= routes_of(included)
            continue
        assert isinstance(route, Route | APIRoute), f"{route} is no plain route: see that it asks for a token"
        found |= {f"{method} {route.path}" for method in route.methods or ()}
    return found


def filled(path: str) -> str:
    return re.sub(r"{\w+(:path)?}", str(uuid.uuid4()), path)


async def caller_of(service: Federation, scope: str) -> Caller:
    if scope == "admin":
        return service.admin
    owner = await service.person(f"owner-of-{scope}")
    if scope == "endpoint":
        return (await service.agent(owner, "site", start=False)).caller
    return await service.token(owner.name, scope)  # type: ignore[arg-type]


async def test_every_route_is_in_the_contract(service: Federation) -> None:
    found = {route for route in routes_of(service.app) if not route.startswith("HEAD /v1/openapi")}
    assert found == set(ALLOWED) | OPEN | SIGNED | SECRET


async def test_no_route_answers_without_a_token(service: Federation) -> None:
    for route in routes_of(service.app) - OPEN - SIGNED - SECRET:
        method, path = route.split()
        response = await service.nobody.send(method, filled(path), content=b"{}", content_type=codec.JSON)
        assert response.status_code == 401, route
        assert response.headers["www-authenticate"] == "Bearer"
        if method != "HEAD":
            assert "Authorization" in refused(response).fix, route


async def test_health_needs_no_token(service: Federation) -> None:
    response = await service.nobody.send("GET", "/v1/health", accept="application/json")
    assert response.json()["status"] == "ok"


async def test_stored_bytes_need_a_signed_url(service: Federation) -> None:
    for method in ("GET", "PUT", "HEAD"):
        response = await service.admin.send(method, "/v1/store/segments/x")
        assert response.status_code == 403


@pytest.mark.parametrize("scope", ["client", "submit", "endpoint", "admin"])
async def test_a_scope_may_do_what_the_contract_says_and_no_more(service: Federation, scope: str) -> None:
    caller = await caller_of(service, scope)
    for route, allowed in ALLOWED.items():
        method, path = route.split()
        response = await caller.send(method, filled(path), content=b"[", content_type=codec.JSON)
        may = scope in allowed.split() or (scope == "admin" and "client" in allowed.split())
        if may:
            assert "may not do this" not in response.text, route
            assert response.status_code not in (401, 500), route
        else:
            problem = refused(response)
            assert problem.status == 403, route
            assert f"scope {scope} may not" in problem.detail
            assert problem.fix


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic Zm9vOmJhcg==", "Bearer wrong", "bearer\twrong", "Bearer \xff\xfe"]
)
async def test_a_wrong_token_is_401_with_a_fix(service: Federation, header: str) -> None:
    response = await service.http.get("/v1/whoami", headers=[(b"authorization", header.encode("latin-1"))])
    problem = refused(response)
    assert problem.status == 401
    assert problem.fix


async def test_the_scheme_is_not_case_sensitive(service: Federation) -> None:
    response = await service.http.get("/v1/whoami", headers={"authorization": f"bearer  {service.admin.token} "})
    assert response.status_code == 200


async def test_who_am_i(service: Federation, ada: Caller, agent: Agent) -> None:
    mine = await ada.ask("GET", "/v1/whoami", answer=WhoAmI)
    assert (mine.identity, mine.identity_id, mine.scope) == (ada.name, ada.identity_id, "client")
    agents = await agent.caller.ask("GET", "/v1/whoami", answer=WhoAmI)
    assert (agents.identity, agents.scope, agents.endpoint_id) == (ada.name, "endpoint", agent.endpoint_id)


async def test_a_revoked_token_is_refused_at_once(service: Federation, ada: Caller) -> None:
    made = await ada.ask("POST", "/v1/tokens", CreateToken(label="notebook"), answer=Token)
    other = Caller(service.http, made.secret)
    await other.ask("GET", "/v1/whoami", answer=WhoAmI)  # and so it is remembered
    await ada.ask("DELETE", f"/v1/tokens/{made.token_id}", answer=Nothing)
    problem = await other.refusal("GET", "/v1/whoami")
    assert problem.status == 401
    assert "revoked" in problem.detail
    assert "faas token create" in problem.fix
    await ada.ask("DELETE", f"/v1/tokens/{made.token_id}", answer=Nothing)  # again changes nothing


async def test_an_expired_token_is_refused(service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    made = await ada.ask("POST", "/v1/tokens", CreateToken(expires_s=3600), answer=Token)
    other = Caller(service.http, made.secret)
    await other.ask("GET", "/v1/whoami", answer=WhoAmI)  # and so it is remembered
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    problem = await other.refusal("GET", "/v1/whoami")
    assert problem.status == 401
    assert "expired" in problem.detail
    assert problem.fix


@pytest.mark.parametrize("expires_s", [0, -1, float("nan"), float("inf")])
async def test_a_token_needs_a_possible_life_time(ada: Caller, expires_s: float) -> None:
    problem = await ada.refusal("POST", "/v1/tokens", CreateToken(expires_s=expires_s))
    assert problem.status == 400
    assert problem.field == "expires_s"


async def test_a_person_makes_tokens_for_themselves_only(service: Federation, ada: Caller, bob: Caller) -> None:
    assert (await ada.refusal("POST", "/v1/tokens", CreateToken(identity=bob.name))).status == 403
    assert (await ada.refusal("POST", "/v1/tokens", CreateToken(scope="admin"))).status == 403
    assert (await ada.ask("POST", "/v1/tokens", CreateToken(identity=ada.name, scope="submit"), answer=Token)).secret


async def test_an_endpoint_token_is_bound_to_an_endpoint_of_ones_own(ada: Caller, bob: Caller, agent: Agent) -> None:
    request = CreateToken(scope="endpoint", endpoint=agent.endpoint_id)
    assert (await ada.ask("POST", "/v1/tokens", request, answer=Token)).endpoint_id == agent.endpoint_id
    problem = await bob.refusal("POST", "/v1/tokens", request)
    assert (problem.status, problem.field) == (404, "endpoint")
    assert (await ada.refusal("POST", "/v1/tokens", CreateToken(scope="endpoint"))).status == 404


async def test_a_person_sees_and_revokes_their_own_tokens_only(service: Federation, ada: Caller, bob: Caller) -> None:
    mine = await ada.ask("GET", "/v1/tokens", answer=list[Token])
    assert {token.identity for token in mine} == {ada.name}
    assert all(not token.secret for token in mine)
    assert (await bob.refusal("DELETE", f"/v1/tokens/{mine[0].token_id}")).status == 404
    everybodys = await service.admin.ask("GET", "/v1/tokens", answer=list[Token])
    assert {ada.name, bob.name} <= {token.identity for token in everybodys}
    await service.admin.ask("DELETE", f"/v1/tokens/{mine[0].token_id}", answer=Nothing)
    assert (await ada.refusal("GET", "/v1/whoami")).status == 401


async def test_registering_an_endpoint_again_leaves_its_older_tokens_valid(ada: Caller, agent: Agent) -> None:
    await ada.send("POST", "/v1/endpoints", RegisterEndpoint(name="beamline"))
    assert (await agent.caller.ask("GET", "/v1/whoami", answer=WhoAmI)).endpoint_id == agent.endpoint_id


async def test_refusals_never_repeat_the_token(service: Federation) -> None:
    secret = "faas_this-is-somebodys-secret"
    caller = Caller(service.http, secret)
    for method, path in (("GET", "/v1/whoami"), ("POST", "/v1/tasks"), ("GET", "/nowhere"), ("PATCH", "/v1/tasks")):
        assert secret not in (await caller.send(method, path)).text
