"""The main program of a worker process: bind to the driver, prepare, execute tasks.

It is executed by path, not imported. Slow imports, and those that may fail, come after it is bound to the driver.
"""

import os
import signal
import sys

READY, UNABLE = "ready", "unable"  # the first message of a worker: whether it could start
PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.3


def end_with(parent: int, number: int = signal.SIGKILL) -> None:
    """End this process when its parent ends, whatever it is doing then.

    Linux sends signal `number` when the thread that started this process ends; see `curate.process.child.start_child`.
    Elsewhere a thread polls for the parent, which fails while C code holds the interpreter's lock.
    """
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    else:
        import threading

        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the call took effect
        os._exit(1)


def _watch_parent(parent: int) -> None:
    """Exit soon after the parent has ended."""
    import time

    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _serve(descriptor: int, parent: int, cpu_seconds: float) -> None:
    """Answer messages of the pipe until the driver closes it. Preparation may take `cpu_seconds` of CPU time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with(parent)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    from multiprocessing.connection import Connection

    pipe = Connection(descriptor)
    try:
        sys.path[:] = pipe.recv()
        prepare, reply = pipe.recv()  # pickled by name: this imports their modules
        prepare()
        pipe.send((READY, None))
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the driver ended
        os._exit(1)
    except BaseException as error:  # the driver reports it
        pipe.send((UNABLE, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__))
        os._exit(1)
    signal.setitimer(signal.ITIMER_PROF, 0)
    try:
        while True:
            pipe.send_bytes(reply(pipe.recv_bytes()))
    except (EOFError, OSError, MemoryError):
        os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
