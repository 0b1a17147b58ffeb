"""Identities and tokens: secrets are hashed at rest, expire, are revoked, and are minted only by those who may."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from faas.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound, PermissionDenied
from faas.models import Scope
from registry import identities, schema
from registry.identities import Principal
from tests.unit.registry.federation import Federation, new_id


def _mint(federation: Federation, principal: Principal, scope: Scope = "client", **fields: Any) -> Any:
    return federation.write(identities.request_token, principal, scope=scope, **fields)


def test_a_token_stands_for_its_identity_and_scope(federation: Federation) -> None:
    identity_id = federation.write(identities.create_identity, "ada")
    token = federation.write(identities.create_token, identity_id, "submit", label="beamline", expires_s=60.0)
    principal = federation.read(identities.authenticate, token.secret)
    assert principal == Principal(identity_id, "ada", "submit", token.token_id, expires_at=federation.clock.now + 60.0)


def test_a_secret_appears_in_no_table(federation: Federation) -> None:
    identity_id = federation.write(identities.create_identity, "ada")
    token = federation.write(identities.create_token, identity_id, "client")
    federation.read(identities.authenticate, token.secret)
    for table in schema.metadata.sorted_tables:
        for row in federation.rows(sa.select(table)):
            stored = " ".join(str(value) for value in row)
            assert token.secret not in stored
            assert token.secret.removeprefix(identities.TOKEN_PREFIX) not in stored


def test_secrets_differ_and_are_long(federation: Federation) -> None:
    identity_id = federation.write(identities.create_identity, "ada")
    secrets = {federation.write(identities.create_token, identity_id, "client").secret for _ in range(5)}
    assert len(secrets) == 5
    assert all(secret.startswith("faas_") and len(secret) >= 45 for secret in secrets)


@pytest.mark.parametrize("secret", ["", "faas_wrong", "\x00", "☢", "\udcff", "x" * 100_000])
def test_an_unknown_token_is_refused(federation: Federation, secret: str) -> None:
    with pytest.raises(NotAuthenticated, match="FAAS_TOKEN"):
        federation.read(identities.authenticate, secret)


def test_a_token_expires(federation: Federation, ada: Principal) -> None:
    token = _mint(federation, ada, expires_s=10.0)
    federation.clock.advance(9)
    assert federation.read(identities.authenticate, token.secret).identity == "ada"
    federation.clock.advance(1)
    with pytest.raises(NotAuthenticated, match="expired"):
        federation.read(identities.authenticate, token.secret)


def test_a_revoked_token_is_refused_and_stays_listed(federation: Federation, ada: Principal) -> None:
    token = _mint(federation, ada, label="old laptop")
    federation.write(identities.revoke_token, ada, token.token_id)
    revoked_at = federation.clock.now
    federation.clock.advance(5)
    federation.write(identities.revoke_token, ada, token.token_id)
    with pytest.raises(NotAuthenticated, match="revoked"):
        federation.read(identities.authenticate, token.secret)
    [listed] = [each for each in federation.read(identities.list_tokens, ada) if each.token_id == token.token_id]
    assert (listed.revoked_at, listed.label, listed.secret) == (revoked_at, "old laptop", "")


def test_people_list_and_revoke_their_own_tokens_only(federation: Federation, ada: Principal, bob: Principal) -> None:
    token = _mint(federation, bob)
    assert {each.identity for each in federation.read(identities.list_tokens, ada)} == {"ada"}
    with pytest.raises(NotFound):
        federation.write(identities.revoke_token, ada, token.token_id)
    with pytest.raises(NotFound):
        federation.write(identities.revoke_token, ada, new_id())
    assert federation.read(identities.authenticate, token.secret)


def test_an_admin_lists_and_revokes_everybodys(federation: Federation, ada: Principal, bob: Principal) -> None:
    admin = federation.person("root", "admin")
    assert {each.identity for each in federation.read(identities.list_tokens, admin)} == {"ada", "bob", "root"}
    token = _mint(federation, bob)
    federation.write(identities.revoke_token, admin, token.token_id)
    with pytest.raises(NotAuthenticated):
        federation.read(identities.authenticate, token.secret)


def test_tokens_are_listed_newest_first(federation: Federation, ada: Principal) -> None:
    for label in ("one", "two", "three"):
        federation.clock.advance(1)
        _mint(federation, ada, label=label)
    assert [each.label for each in federation.read(identities.list_tokens, ada)] == ["three", "two", "one", ""]


# Who may mint what


@pytest.mark.parametrize("scope", ["client", "submit"])
def test_a_person_mints_tokens_of_lesser_scopes(federation: Federation, ada: Principal, scope: Scope) -> None:
    token = _mint(federation, ada, scope, identity="ada")
    assert federation.read(identities.authenticate, token.secret).scope == scope


def test_only_an_admin_mints_admin_tokens(federation: Federation, ada: Principal) -> None:
    with pytest.raises(PermissionDenied):
        _mint(federation, ada, "admin")
    admin = federation.person("root", "admin")
    assert federation.read(identities.authenticate, _mint(federation, admin, "admin").secret).scope == "admin"


def test_only_an_admin_mints_for_others(federation: Federation, ada: Principal, bob: Principal) -> None:
    with pytest.raises(PermissionDenied, match="bob"):
        _mint(federation, ada, identity="bob")
    admin = federation.person("root", "admin")
    token = _mint(federation, admin, identity="bob")
    assert federation.read(identities.authenticate, token.secret).identity_id == bob.identity_id
    with pytest.raises(NotFound) as refusal:
        _mint(federation, admin, identity="nobody")
    assert refusal.value.field == "identity"


@pytest.mark.parametrize("by", ["name", "id"])
def test_an_endpoints_token_is_bound_to_it(federation: Federation, ada: Principal, by: str) -> None:
    endpoint_id = federation.endpoint(ada, "site")
    token = _mint(federation, ada, "endpoint", endpoint="site" if by == "name" else endpoint_id)
    principal = federation.read(identities.authenticate, token.secret)
    assert (principal.scope, principal.endpoint_id) == ("endpoint", endpoint_id)


def test_no_token_for_an_endpoint_of_others(federation: Federation, ada: Principal, bob: Principal) -> None:
    endpoint_id = federation.endpoint(bob, "site")
    for reference in ("", "site", endpoint_id, new_id()):
        with pytest.raises(NotFound) as refusal:
            _mint(federation, ada, "endpoint", endpoint=reference)
        assert refusal.value.field == "endpoint"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_life_time_is_a_span(federation: Federation, ada: Principal, seconds: float) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        _mint(federation, ada, expires_s=seconds)
    assert refusal.value.field == "expires_s"


# Identities


def test_an_identity_is_created_once(federation: Federation) -> None:
    identity_id = federation.write(identities.create_identity, "ada")
    assert federation.write(identities.ensure_identity, "ada") == identity_id
    with pytest.raises(Conflict) as refusal:
        federation.write(identities.create_identity, "ada")
    assert refusal.value.field == "name"
    other = federation.write(identities.ensure_identity, "bob")
    assert federation.read(identities.list_identities) == {identity_id: "ada", other: "bob"}


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00b", "x" * 201])
def test_an_identity_has_a_name_people_can_read(federation: Federation, name: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        federation.write(identities.create_identity, name)
    assert refusal.value.field == "name"
