"""Starting processes that Ctrl-C can stop, wherever the tests themselves run."""

import signal


def heed_interrupts() -> None:
    """For `preexec_fn`: a shell that puts tests in the background lets them ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
