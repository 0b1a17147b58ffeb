"""`faas token`: access tokens, whose secrets are shown once."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from faas.commands.connection import open_link
from faas.commands.display import AsJson, abbreviate, ago, moment, print_json, print_table
from faas.commands.inputs import match_id, parse_span
from faas.commands.lookup import segment
from faas.errors import NotFound
from faas.link import Link
from faas.models import CreateIdentity, CreateToken, Identity, Nothing, Scope, Token

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke access tokens.")


@app.command("create")
def create_token(
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = "client",
    label: Annotated[str, typer.Option(help="What it is for; shown in the list.")] = "",
    identity: Annotated[str, typer.Option(help="Whose; anyone but yourself takes an admin token.")] = "",
    create_identity: Annotated[bool, typer.Option("--create-identity", help="Make the identity if it is new.")] = False,
    endpoint: Annotated[str, typer.Option(help="The endpoint that a token of scope endpoint is for.")] = "",
    expires: Annotated[
        float | None,
        typer.Option(parser=parse_span, metavar="SPAN", help="Life time, such as 12h or 30d. [default: no end]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a token and print its secret, this once."""
    if (scope == "endpoint") != bool(endpoint):
        raise typer.BadParameter("--scope endpoint and --endpoint go together.")
    wanted = CreateToken(scope=scope, label=label, identity=identity, endpoint=endpoint, expires_s=expires)
    with open_link() as link:
        token = _create(link, wanted, create_identity)
        url = link.url
    if as_json:
        return print_json(token)
    until = f", until {moment(token.expires_at)}" if token.expires_at else ""
    typer.echo(f"Token {token.token_id} of {token.identity}, scope {token.scope}{until}. Its secret:", err=True)
    typer.echo(token.secret)  # alone on standard output, so that scripts can take it
    typer.echo(
        f"It is not shown again. To use it:\n\n  export FAAS_URL={url}\n  export FAAS_TOKEN=<the secret>", err=True
    )


@app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List tokens; never their secrets."""
    with open_link() as link:
        tokens = link.request("GET", "/v1/tokens", response=list[Token])
    if as_json:
        return print_json(tokens)
    short = abbreviate(token.token_id for token in tokens)
    print_table(
        ["id", "identity", "scope", "state", "created", "label"],
        ([short[one.token_id], one.identity, one.scope, _state(one), ago(one.created_at), one.label] for one in tokens),
        empty="No tokens.",
    )


@app.command("revoke")
def revoke_token(token: Annotated[str, typer.Argument(help="Its id, or the beginning of it; not the secret.")]) -> None:
    """Revoke a token: from now on it is refused."""
    with open_link() as link:
        tokens = link.request("GET", "/v1/tokens", response=list[Token])
        found = match_id(token, (one.token_id for one in tokens), "token")
        link.request("DELETE", f"/v1/tokens/{segment(found)}", response=Nothing)
    typer.echo(f"Revoked token {found}.")


def _create(link: Link, wanted: CreateToken, create_identity: bool) -> Token:
    if create_identity and wanted.identity:
        known = link.request("GET", "/v1/identities", response=list[Identity])
        if wanted.identity not in {identity.name for identity in known}:
            link.request("POST", "/v1/identities", CreateIdentity(name=wanted.identity), response=Identity)
    try:
        return link.request("POST", "/v1/tokens", wanted, response=Token)
    except NotFound as error:
        if error.field != "identity":
            raise
        raise NotFound(error.detail, fix="Add --create-identity to make it.") from None


def _state(token: Token) -> str:
    if token.revoked_at:
        return "revoked"
    if token.expires_at is None:
        return "valid"
    return "expired" if token.expires_at <= time.time() else f"until {moment(token.expires_at)[:10]}"
