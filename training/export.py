"""Write a trained run as a bundle that the services load: weights, bundle file, model card.

    python -m training.export --run RUN --out FOLDER --licence "CC-BY-4.0"      # a bundle of your own, ready to serve
    python -m training.export --run RUN --embedded                             # the weights that ship with the service

The averaged weights of best.pt are written (of last.pt with --last), as float16.
"""

import argparse
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.motion_dit.checkpoint import EMBEDDED, load_checkpoint, save_checkpoint
from shared.errors import ConfigurationError, TalkingHeadError
from training.checkpoints import BEST, LAST, Saved, load, run_file
from training.model_card import Card, card_text

WEIGHTS, BUNDLE_FILE, ENCODER_FILE, CARD = "motion.safetensors", "bundle.json", "encoder.json", "README.md"


@dataclass(frozen=True)
class Exported:
    """A bundle folder.

    Attributes:
        folder: absolute.
        sha256: of the weights.
        settings: environment that serves it.
    """

    folder: Path
    sha256: str
    settings: dict[str, str]

    def command(self) -> str:
        """The line that serves it."""
        values = " ".join(f"{name}={shlex.quote(value)}" for name, value in self.settings.items())
        return f"{values} talkinghead up"


def write_weights(saved: Saved, path: Path) -> str:
    """Write the averaged weights as float16, read them back, and return the file's SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(saved.averaged_model(), path)
    load_checkpoint(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_bundle(saved: Saved, card: Card, out: Path) -> Exported:
    """Write a bundle folder.

    Raises:
        ConfigurationError: the run does not say how its data was cut, or the name cannot be one.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", card.name):
        raise ConfigurationError(f"name {card.name!r}; expected lower-case letters, digits, - and _, at most 41")
    if not saved.facts.get("train"):
        raise ConfigurationError("this run does not say what it was trained on; train it with python -m training.train")
    first = saved.facts["train"][0]
    geometry, encoder = first["geometry"], first["encoder"]
    digest = write_weights(saved, out / WEIGHTS)
    bundle = {
        "version": digest[:12],
        **{key: geometry[key] for key in ("context", "hop", "margin", "lookahead")},
        "hidden_size": encoder["hidden_size"],
        "receptive_field": encoder["receptive_field"],
        "relative_motion": True,
        "renderer": card.renderer,
        "motion": "embedded",
    }
    _write_json(out / BUNDLE_FILE, {card.name: bundle})
    _write_json(out / ENCODER_FILE, encoder)
    folder = out.absolute()
    settings = {
        "TH_BUNDLE_FILE": str(folder / BUNDLE_FILE),
        "TH_BUNDLE": card.name,
        "TH_MOTION_WEIGHTS": str(folder / WEIGHTS),
    }
    if encoder["name"] != "embedded":
        settings["TH_ENCODER_PATH"] = str(Path(encoder["name"]).absolute())
    exported = Exported(folder, digest, settings)
    (out / CARD).write_text(card_text(card, saved, digest, settings), encoding="utf-8")
    return exported


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _read_evaluations(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The last line of each file of `python -m training.evaluate` output, by file name."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            found[path.stem] = dict(json.loads(path.read_text(encoding="utf-8").strip().splitlines()[-1]))
        except (OSError, ValueError, IndexError, TypeError) as error:
            raise ConfigurationError(
                f"{path} holds no result ({error}); expected the output of training.evaluate, one JSON object last"
            ) from error
    return found


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run, or its .pt")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="folder of the bundle to write")
    where.add_argument("--embedded", action="store_true", help=f"write {EMBEDDED.name} of the motion service")
    parser.add_argument("--last", action="store_true", help="the weights at the end, not those of the lowest loss")
    parser.add_argument("--name", help="of the bundle; default: the folder's name")
    parser.add_argument(
        "--licence", default="", help="of the weights and their data, as the card will say (with --out)"
    )
    parser.add_argument("--about", default="", help="who speaks in the data, in which languages, recorded how")
    parser.add_argument("--renderer", choices=("embedded", "liveportrait"), default="embedded")
    parser.add_argument("--evaluation", type=Path, nargs="*", default=[], help="files with output of training.evaluate")
    found = parser.parse_args(arguments)
    if found.out and not found.licence:
        parser.error("--licence is needed: a model card without it cannot be used by anybody")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    args = _arguments(arguments)
    try:
        saved = load(run_file(args.run, LAST if args.last else BEST))
        if args.embedded:
            print(f"{EMBEDDED} {write_weights(saved, EMBEDDED)}")
            return 0
        name = args.name or re.sub(r"[^a-z0-9_-]+", "-", args.out.name.lower()).strip("-")
        card = Card(name, args.licence, args.about, args.renderer, _read_evaluations(args.evaluation))
        exported = write_bundle(saved, card, args.out)
    except TalkingHeadError as error:
        print(f"training.export: {error.message}", file=sys.stderr)
        return 2
    print(f"{exported.folder}: {', '.join(sorted(path.name for path in exported.folder.iterdir()))}")
    print(f"Serve it:\n\n    {exported.command()}\n")
    print(json.dumps({"folder": str(exported.folder), "sha256": exported.sha256, "settings": exported.settings}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
