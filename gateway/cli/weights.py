"""`talkinghead weights pull|list|verify`: weights that do not ship with the package."""

import argparse
from pathlib import Path

from gateway.cli.install import Wanted, install
from gateway.cli.weight_sources import SOURCES, WeightSource, source_of
from shared.bundles import BUNDLES
from shared.errors import ConfigurationError, WeightsMismatch
from shared.settings import Settings
from shared.weights import BundleLock, bundle_folder, content_problems, read_lock, size_problems

SHORT_COMMIT = 12


def add_commands(parser: argparse.ArgumentParser) -> None:
    """The arguments of the three commands."""
    commands = parser.add_subparsers(required=True, metavar="pull|list|verify")
    pull = commands.add_parser("pull", help="download, check and convert the weights of BUNDLE")
    pull.add_argument("bundle", metavar="BUNDLE", help=", ".join(SOURCES))
    pull.add_argument("--repo", default="", metavar="OWNER/NAME", help="another repository of the same layout")
    chosen = pull.add_mutually_exclusive_group()
    chosen.add_argument("--revision", default="", help="branch, tag or commit (default: as locked, else main)")
    chosen.add_argument("--update", action="store_const", dest="revision", const="main", help="the newest on main")
    chosen.add_argument("--from", type=Path, dest="folder", metavar="FOLDER", help="files that are here already")
    pull.set_defaults(run=_run_pull)
    listing = commands.add_parser("list", help="bundles, what is pulled, revision, size, licence")
    listing.set_defaults(run=_run_list)
    verify = commands.add_parser("verify", help="compare every file of BUNDLE with its lock file")
    verify.add_argument("bundle", metavar="BUNDLE", help=", ".join(SOURCES))
    verify.set_defaults(run=_run_verify)


def pull(wanted: Wanted, weights_dir: str) -> None:
    """Show the licence, then install.

    Raises:
        TalkingHeadError: see `install`.
    """
    folder = bundle_folder(wanted.bundle, weights_dir)
    print(_licence_lines(wanted.source), flush=True)
    lock = install(wanted, folder, lambda words: print(f"  {words}", flush=True))
    facts = f"{len(lock.files)} files, {_megabytes(lock)}, from {lock.repo} at {lock.revision}"
    print(f"{wanted.bundle}: {facts}, in {folder}")


def verify(bundle: str, weights_dir: str) -> None:
    """Compare every file with the lock file.

    Raises:
        ConfigurationError: nothing was pulled.
        WeightsMismatch: a file is missing or differs.
    """
    source_of(bundle)
    folder = bundle_folder(bundle, weights_dir)
    lock = read_lock(folder)
    if lock is None:
        raise ConfigurationError(f"{folder} has no lock file; run `talkinghead weights pull {bundle}`.")
    problems = content_problems(folder, lock)
    if problems:
        raise WeightsMismatch(
            f"{folder}: {'; '.join(problems)}. Run `talkinghead weights pull {bundle}` to fetch the locked revision "
            "again."
        )
    print(f"{bundle}: {len(lock.files)} files, {_megabytes(lock)}, as locked at {lock.revision}")


def listing(weights_dir: str) -> list[str]:
    """A line for the headings and one per bundle."""
    bundles = sorted(BUNDLES.keys() | SOURCES.keys())
    rows = [("BUNDLE", "STATE", "REVISION", "SIZE", "LICENCE"), *(_row(bundle, weights_dir) for bundle in bundles)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(bundle: str, weights_dir: str) -> tuple[str, str, str, str, str]:
    if bundle not in SOURCES and BUNDLES[bundle].motion == "joyvasa":
        is_there = bundle_folder(bundle, weights_dir).is_dir()
        return bundle, "converted by hand" if is_there else "not converted", "", "", "MIT"
    if bundle not in SOURCES:
        return bundle, "ships with the package", "", "", "Apache-2.0"
    folder = bundle_folder(bundle, weights_dir)
    licence = SOURCES[bundle].licence
    try:
        lock = read_lock(folder)
    except WeightsMismatch:
        return bundle, "unreadable lock file", "", "", licence
    if lock is None:
        return bundle, "placed by hand" if folder.is_dir() and any(folder.iterdir()) else "not pulled", "", "", licence
    state = "damaged" if size_problems(folder, lock) else "pulled"
    return bundle, state, lock.revision[:SHORT_COMMIT], _megabytes(lock), lock.licence


def _licence_lines(source: WeightSource) -> str:
    return f"Licence of the weights: {source.licence}, {source.licence_url}\n{source.notice}"


def _megabytes(lock: BundleLock) -> str:
    return f"{lock.size_bytes / 1e6:.1f} MB"


def _run_pull(parsed: argparse.Namespace) -> None:
    wanted = Wanted(parsed.bundle, source_of(parsed.bundle), parsed.repo, parsed.revision, parsed.folder)
    pull(wanted, Settings().weights_dir)


def _run_list(_parsed: argparse.Namespace) -> None:
    print("\n".join(listing(Settings().weights_dir)))


def _run_verify(parsed: argparse.Namespace) -> None:
    verify(parsed.bundle, Settings().weights_dir)
