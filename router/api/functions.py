"""Routes: register functions, look at them, fetch their code."""

from __future__ import annotations

from faas.models import Function, FunctionCode, RegisterFunction
from registry import functions
from router.api.routes import Call, Routes

routes = Routes("functions")


@routes.add("POST", "/functions", "client", body=RegisterFunction, answer=Function)
async def register_function(call: Call[RegisterFunction]) -> Function:
    """Register code. The same code of the same owner keeps its id; a name points at the newest version."""
    return await call.service.database.write(functions.register, call.principal, call.body)


@routes.add(
    "GET",
    "/functions",
    "client",
    "submit",
    answer=list[Function],
    query={"name": "exact name", "limit": "at most this many, 100 unless told"},
)
async def list_functions(call: Call[None]) -> list[Function]:
    """The caller's functions and public ones, newest first."""
    limit = int(call.number("limit", 100, 1, 1000))
    return await call.service.database.read(
        functions.list_functions, call.principal, name=call.text("name"), limit=limit
    )


@routes.add("GET", "/functions/{function}", "client", "submit", "endpoint", answer=Function)
async def show_function(call: Call[None]) -> Function:
    """A function by id, or one of the caller's by name."""
    return await call.service.database.read(functions.show, call.principal, call.path("function"))


@routes.add("GET", "/functions/{function_id}/code", "client", "endpoint", answer=FunctionCode)
async def function_code(call: Call[None]) -> FunctionCode:
    """A function's code: for its users, and for an endpoint while it holds one of its tasks."""
    return await call.service.database.read(functions.code, call.principal, call.path("function_id"))
