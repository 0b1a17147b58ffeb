"""The `faas` command itself: picks the sub-command, turns every failure into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
import warnings
from importlib.metadata import EntryPoint
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from faas import __version__
from faas.commands.registered import SUMMARIES, find_commands, load_command, missing_package, stand_in
from faas.errors import FaasError, TaskFailed

_COMPLETION = "_FAAS_COMPLETE"
# BadParameter < UsageError < ClickException: Typer brings Click along, vendored or not, and exports only the first.
_CLICK_EXCEPTION: Any = typer.BadParameter.__mro__[2]
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}


def main() -> NoReturn:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line.

    Args:
        arguments: what follows ``faas``.

    Returns:
        The exit code; whatever went wrong has been printed.
    """
    wanted = next((argument for argument in arguments if not argument.startswith("-")), "")
    debug = "--debug" in (arguments[: arguments.index(wanted)] if wanted else arguments)
    warnings.showwarning = _warn
    try:
        code = _run(arguments, wanted)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:
        # The reader (`| head`) has gone; without this Python complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except TaskFailed as error:
        return _tell_failure(error)
    except FaasError as error:
        if debug:
            traceback.print_exc()
        return _say(str(error), 1)
    except Exception as error:
        return _explain(error, debug)


def _run(arguments: list[str], wanted: str) -> int:
    commands = find_commands()
    application = get_command(_application(commands, wanted))
    try:
        code = application.main(args=arguments, prog_name="faas", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Abort:
        raise KeyboardInterrupt from None
    except _CLICK_EXCEPTION as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help
            error.show()
            return 2
        return _say(_usage(error), error.exit_code)
    except ModuleNotFoundError as error:
        if wanted not in commands:
            raise
        raise missing_package(error, wanted, commands[wanted].module) from error


def _application(commands: dict[str, EntryPoint], wanted: str) -> typer.Typer:
    """The command line with one sub-command loaded and the others only listed."""
    # Plain help, not Rich's: quick, and `[…]` in a docstring stays what it is.
    app = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.callback()(_options)
    for name, entry in commands.items():
        if name == wanted or name not in SUMMARIES or _COMPLETION in os.environ:
            try:
                command = load_command(entry)
            except Exception as problem:  # a broken plug-in must not break the rest
                stub = stand_in(SUMMARIES.get(name, f"(cannot be loaded: {problem})"), problem)
                app.command(name, add_help_option=False, context_settings=_ANYTHING)(stub)
                continue
        else:
            command = stand_in(SUMMARIES[name])
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of failures.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", callback=_version)] = False,
) -> None:
    """Register analysis functions once, run them at any site, from anywhere."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"faas {__version__}")
        raise typer.Exit


def _usage(error: Any) -> str:
    message = str(error.format_message()).replace("\n", " ").replace("Value error, ", "")
    message = message.rstrip(".") + ("" if message.rstrip(".").endswith("?") else ".")
    context = getattr(error, "ctx", None)
    return f"{message} See `{context.command_path} --help`." if context else message


def _tell_failure(error: TaskFailed) -> int:
    """Show the traceback at the site, which is the user's own, and last of all what happened to which task."""
    if error.remote_traceback.strip() not in ("", error.message.strip()):
        print(error.remote_traceback.rstrip(), file=sys.stderr)
    return _say(f"{error.message}{f' (task {error.task_id})' if error.task_id else ''}", 1)


def _explain(error: Exception, debug: bool) -> int:
    """Say in a line what nobody foresaw; the traceback goes to a file for whoever has to find out."""
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    if debug:
        traceback.print_exc()
        return _say(f"unexpected {what}", 1)
    try:
        with tempfile.NamedTemporaryFile("w", prefix="faas-error-", suffix=".txt", delete=False) as file:
            traceback.print_exc(file=file)
    except OSError:
        return _say(f"unexpected {what}. Run it again as `faas --debug …` to see where.", 1)
    return _say(f"unexpected {what}. The traceback is in {file.name}; please send it to the developers.", 1)


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    _say(f"warning: {message}", 0)


def _say(message: str, code: int) -> int:
    print(f"faas: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
