"""`talkinghead up`: the whole stack on this machine until Ctrl-C or SIGTERM."""

import threading

from rich.console import Console

from gateway.cli.stack import StackOptions, running_stack

CHECK_S = 0.2


def up(options: StackOptions) -> None:
    """Run the stack in the foreground.

    Raises:
        TalkingHeadError: it cannot be started, or one of its processes keeps failing.
    """
    console = Console(stderr=True)
    with console.status("starting") as status:

        def report(missing: str) -> None:
            status.update(f"starting, waiting for {missing}")

        with running_stack(options, report) as (url, supervisor):
            status.stop()
            console.print(f"[bold]ready[/bold] at {url}   (logs: {options.workdir.resolve() / 'logs'}; Ctrl-C stops)")
            forever = threading.Event()
            while not forever.wait(CHECK_S):
                supervisor.check()
