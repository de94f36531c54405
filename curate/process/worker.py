"""A worker process from its first moment: it ends with its driver, makes itself ready, and carries out tasks.

It is executed by path, not imported: whatever takes time, or may fail, is imported once it is bound to its driver.
"""

import os
import signal
import sys

READY, UNABLE = "ready", "unable"  # what a worker says of its start, before it answers
PR_SET_PDEATHSIG = 1
LOOK_SECONDS = 0.3


def end_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have this process end when its parent does, whatever it is doing then.

    Linux sends it `number` at the end of the parent's thread that started it; see `curate.process.child.start_child`.
    Elsewhere a thread looks after the parent, unless C code keeps the interpreter's lock.
    """
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    else:
        import threading

        threading.Thread(target=_look_after, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _look_after(parent: int) -> None:
    """End this process soon after its parent."""
    import time

    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def _work(descriptor: int, parent: int, cpu_seconds: float) -> None:
    """The life of a worker whose pipe has a descriptor; one that uses up its CPU time before it is ready is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with(parent)
    signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
    from multiprocessing.connection import Connection

    pipe = Connection(descriptor)
    try:
        sys.path[:] = pipe.recv()
        prepare, reply = pipe.recv()  # pickled by their names: this imports what they are in
        prepare()
        pipe.send((READY, None))
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the driver ended
        os._exit(1)
    except BaseException as error:  # whatever keeps it from its work is the driver's to tell
        pipe.send((UNABLE, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__))
        os._exit(1)
    signal.setitimer(signal.ITIMER_PROF, 0)
    try:
        while True:
            pipe.send_bytes(reply(pipe.recv_bytes()))
    except (EOFError, OSError, MemoryError):
        os._exit(0)


if __name__ == "__main__":
    _work(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
