"""`talkinghead demo`: the page, with a private stack behind it unless a gateway is named."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from gateway.cli.ports import free_port, require_port
from gateway.cli.stack import StackOptions, base_url, running_stack
from gateway.demo.settings import DemoSettings
from shared.errors import ConfigurationError

Call = Callable[[], None]


@dataclass(frozen=True)
class DemoOptions:
    """What the user asked for.

    Attributes:
        url: gateway to use; empty: a private stack, stopped afterwards.
        host, port: where the page listens; a taken port is replaced by a free one, 0 is any free one.
    """

    url: str
    host: str
    port: int


def demo(options: DemoOptions) -> None:
    """Run the page in the foreground.

    Raises:
        ConfigurationError: the address is not one of this machine, or Gradio is not installed.
        TalkingHeadError: the private stack cannot be started, or one of its processes keeps failing.
    """
    console = Console(stderr=True)
    port = port_near(options.host, options.port)
    if options.port not in (0, port):
        console.print(f"port {options.port} is taken, using {port}")
    with _uploads():
        _serve(options, port, console)


def _serve(options: DemoOptions, port: int, console: Console) -> None:
    serve = _page_server()
    settings = DemoSettings().model_copy(update={"demo_host": options.host})
    with _gateway(options.url, console) as (url, check):

        def announce() -> None:
            console.print(f"[bold]ready[/bold]: open {base_url(options.host, port)}   (Ctrl-C stops)")

        serve(settings, url, port, check, announce)


def port_near(host: str, port: int) -> int:
    """The port, or a free one when it is taken or 0.

    Raises:
        ConfigurationError: the host is not an address of this machine.
    """
    require_port(host, 0)
    try:
        require_port(host, port)
    except ConfigurationError:
        return free_port(host)
    return port or free_port(host)


@contextmanager
def _uploads() -> Iterator[None]:
    """A folder for what users upload, gone with the page; read by Gradio, which is told to send no statistics."""
    with tempfile.TemporaryDirectory(prefix="talkinghead-page-") as folder:
        os.environ.setdefault("GRADIO_TEMP_DIR", folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        yield


def _page_server() -> Callable[[DemoSettings, str, int, Call, Call], None]:
    """The page's server; imported here because Gradio takes seconds to load and no other command needs it."""
    try:
        from gateway.demo.page import serve
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the page needs {error.name}, which is not installed: pip install 'talkinghead[demo]'"
        ) from error
    return serve


@contextmanager
def _gateway(url: str, console: Console) -> Iterator[tuple[str, Call]]:
    """A gateway's URL, and what raises when the stack behind it was given up."""
    if url:
        yield url, lambda: None
        return
    workdir = Path(tempfile.mkdtemp(prefix="talkinghead-"))
    try:
        with console.status("starting") as status:

            def report(missing: str) -> None:
                status.update(f"starting, waiting for {missing}")

            with running_stack(StackOptions(workdir, port=0), report) as (own_url, supervisor):
                status.stop()
                yield own_url, supervisor.check
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
