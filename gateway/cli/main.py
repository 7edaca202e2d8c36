"""START HERE for the command line: arguments in, exit code out.

Exit codes: 0 done, 1 a typed error (its message is on stderr), 2 wrong arguments, 130 stopped by a signal.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from gateway.cli.animate import AnimateOptions, animate
from gateway.cli.dead_letters import add_arguments as add_dead_letters
from gateway.cli.demo import DemoOptions, demo
from gateway.cli.stack import StackOptions
from gateway.cli.up import up
from gateway.cli.weights import add_commands as add_weights_commands
from gateway.demo.settings import DemoSettings
from gateway.options import EMOTIONS, FIELDS
from gateway.settings import GatewaySettings
from shared.errors import TalkingHeadError

EXIT_ERROR, EXIT_STOPPED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: words after the program name; None: those of the process.

    Returns:
        The exit code.
    """
    parsed = build_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], None] = parsed.run
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        run(parsed)
    except TalkingHeadError as error:
        print(f"talkinghead: {error.message}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("talkinghead: stopped", file=sys.stderr)
        return EXIT_STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    parser = argparse.ArgumentParser(prog="talkinghead", description="A portrait and a voice in, a talking video out.")
    parser.add_argument("--version", action="version", version=version("talkinghead"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_animate(commands.add_parser("animate", help="make a video of PORTRAIT speaking AUDIO"))
    _add_up(commands.add_parser("up", help="run the whole stack on this machine until Ctrl-C"))
    add_weights_commands(
        commands.add_parser("weights", help="pull, list and verify weights that do not ship with this")
    )
    add_dead_letters(commands.add_parser("dead-letters", help="messages that were given up, and why"))
    _add_demo(commands.add_parser("demo", help="the page to try it out, in a browser, until Ctrl-C"))
    return parser


def _add_animate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("portrait", type=Path, metavar="PORTRAIT", help="photo of a face: jpg, png or webp")
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="speech: mp3, m4a, ogg, webm, flac or wav")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.mp4", help="video to write")
    parser.add_argument("--url", default="", help="gateway to use (default: start a private stack, stop it afterwards)")
    parser.add_argument("--seed", type=int, help="same seed, same video (default: drawn)")
    parser.add_argument("--head-motion", type=float, help="0 still .. 1.5 lively (default 1)")
    parser.add_argument("--expressiveness", type=float, help="0 flat .. 1.5 strong (default 1)")
    parser.add_argument("--emotion", choices=EMOTIONS, help="stays on the face while it speaks (default neutral)")
    parser.add_argument("--emotion-strength", type=float, help="0 none .. 1 full (default 1)")
    parser.add_argument("--gaze-x", type=float, help="eyes -1 to the viewer's left .. 1 right (default 0)")
    parser.add_argument("--gaze-y", type=float, help="eyes -1 down .. 1 up (default 0)")
    parser.add_argument("--blinks-per-minute", type=float, help="0 .. 40 (default: as the motion model does, about 19)")
    parser.add_argument("--output", choices=("square", "full"), help="square crop or the full photo (default square)")
    parser.add_argument("--json", action="store_true", help="print nothing but the line of measures")
    parser.set_defaults(run=_run_animate)


def _add_up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address of the gateway (default TH_GATEWAY_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port of the gateway (default TH_GATEWAY_PORT, 8000; 0: a free one)")
    parser.add_argument("--workdir", type=Path, default=Path("var/stack"), help="logs and data (default var/stack)")
    parser.add_argument("--renderers", type=int, default=0, help="renderer processes (default: cores - 1)")
    parser.add_argument("--start-timeout", type=float, default=300.0, metavar="S", help="give up after S seconds")
    parser.set_defaults(run=_run_up)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="gateway to use (default TH_DEMO_API_URL; none: start a private stack)")
    parser.add_argument("--host", help="address of the page (default TH_DEMO_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port of the page (default TH_DEMO_PORT, 9995; taken: a free one)")
    parser.set_defaults(run=_run_demo)


def _run_animate(parsed: argparse.Namespace) -> None:
    fields = {name: str(getattr(parsed, name)) for name in FIELDS if getattr(parsed, name) is not None}
    animate(AnimateOptions(parsed.portrait, parsed.audio, parsed.out, parsed.url, fields, parsed.json))


def _run_up(parsed: argparse.Namespace) -> None:
    settings = GatewaySettings()
    own_redis = "redis_url" not in settings.model_fields_set
    up(
        StackOptions(
            workdir=parsed.workdir,
            host=settings.gateway_host if parsed.host is None else parsed.host,
            port=settings.gateway_port if parsed.port is None else parsed.port,
            n_renderers=parsed.renderers,
            redis_url="" if own_redis else settings.redis_url,
            start_timeout_s=parsed.start_timeout,
        )
    )


def _run_demo(parsed: argparse.Namespace) -> None:
    settings = DemoSettings()
    demo(
        DemoOptions(
            url=settings.demo_api_url if parsed.url is None else parsed.url,
            host=settings.demo_host if parsed.host is None else parsed.host,
            port=settings.demo_port if parsed.port is None else parsed.port,
        )
    )


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


if __name__ == "__main__":
    sys.exit(main())
