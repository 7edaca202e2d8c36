"""How several processes share the tests: those of running stacks stay together, so that one stack starts at a time."""

from pathlib import PurePosixPath

from xdist.scheduler import LoadFileScheduling

WITH_STACKS = {PurePosixPath("tests/deploy"), PurePosixPath("tests/integration")}
# Short lists of long tests: they start a stack of their own and fill up a process that has run out of other work.
APART = {"test_joyvasa.py", "test_liveportrait.py", "test_memory.py", "test_own_bundle.py"}
STACKS = "stacks"


class StacksTogether(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A file is the smallest portion of work; files whose tests share a stack are one portion."""

    def _split_scope(self, nodeid: str) -> str:
        """The portion to which a test belongs; the scheduler begins with the portion of most tests."""
        file = PurePosixPath(nodeid.partition("::")[0])
        return STACKS if file.parent in WITH_STACKS and file.name not in APART else str(file)
