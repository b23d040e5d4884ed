"""Drives rag-cli at a terminal: prompt, answer, history, Ctrl-C during an answer and at the prompt.
usage: prompt.py RAG-CLI INDEX MODEL ENDLESS-MODEL LC_ALL"""
import os
import pty
import select
import signal
import sys
import time


def start(program, index, model, extra, locale):
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", XDG_STATE_HOME=os.path.dirname(index) + "/state", LC_ALL=locale)
        os.execv(program, [program, "--vdb-path", index, "--model-id", model, "--no-reranker", *extra])
    return pid, fd


unread = {}


def read_until(fd, text, seconds=30):
    seen, end = unread.pop(fd, b""), time.time() + seconds
    while text not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.time()))
        if not ready:
            sys.exit(f"waited in vain for {text!r}; the screen says {seen[-400:]!r}")
        try:
            block = os.read(fd, 4096)
        except OSError:
            block = b""
        if not block:
            sys.exit(f"ended before {text!r}: {seen[-400:]!r}")
        seen += block
    unread[fd] = seen[seen.index(text) + len(text):]


def press_until(fd, key, text):
    """libedit shows its prompt a moment before it takes the terminal over, and a key typed in
    between is lost: press it again, as a person would."""
    for _ in range(20):
        os.write(fd, key)
        seen = unread.pop(fd, b"")
        end = time.time() + 1
        while text not in seen and select.select([fd], [], [], max(0, end - time.time()))[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                break
        if text in seen:
            return
        unread[fd] = seen
    sys.exit(f"{key!r} does not lead to {text!r}: {seen[-400:]!r}")


def finish(pid, fd, want):
    end = time.time() + 10
    while time.time() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code != want:
                sys.exit(f"exit {code}, expected {want}")
            return
        if select.select([fd], [], [], 0.1)[0]:
            try:
                os.read(fd, 4096)
            except OSError:
                pass
    os.kill(pid, signal.SIGKILL)
    sys.exit("did not end")


program, index, model, endless, locale = sys.argv[1:6]
pid, fd = start(program, index, model, ["--max-tokens", "4"], locale)
read_until(fd, b"> ")
os.write(fd, "Wer h\u00fctet die Laterne?\n".encode())
read_until(fd, b"Answer:")
read_until(fd, b"-----")
read_until(fd, b"> ")
os.write(fd, b"\x1b[A")  # arrow up: the last question comes back
read_until(fd, "h\u00fctet".encode() if locale.endswith("UTF-8") else b"tet")
os.write(fd, b"\x03")
read_until(fd, b"Bye.")
finish(pid, fd, 0)

# Ctrl-C while it answers stops the answer and not the program; Ctrl-D ends it
unread.clear()
pid, fd = start(program, index, endless, ["--max-tokens", "90000"], locale)
read_until(fd, b"> ")
os.write(fd, b"Who?\n")
read_until(fd, b"Answer:")
os.write(fd, b"\x03")
read_until(fd, b"[stopped]")
read_until(fd, b"> ")
press_until(fd, b"\x04", b"Bye.")
finish(pid, fd, 0)
print("prompt: ok")
