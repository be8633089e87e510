"""The processes that ci/bench/gpu_rounds.py and cpu_rounds.py run by turns, and what happened to each."""

import json
import os
import select
import signal
import subprocess
import time


class Failed(Exception):
    """A contender that ended, or did not answer in time: says why, in one line."""


def parse_epochs(text):
    """engine_train's lines. -> [(validation accuracy, seconds of training)]; see Reproducible of its tests."""
    epochs = []
    for line in text.splitlines():
        words = line.split()
        if words and words[0] == "epoch":
            epochs.append((float(words[7]), float(words[words.index("s") - 1])))
    return epochs


class Contender:
    """A process that speaks ci/bench/protocol.py. Its other output goes to a log."""

    def __init__(self, name, command, log, environment=None):
        self.name, self.log_path, self.rest = name, log, b""
        self.log = open(log, "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        env={**os.environ, **(environment or {})}, start_new_session=True)

    def ask(self, command, seconds):
        """Sends a command, waits for its answer. Raises Failed."""
        try:
            self.process.stdin.write(f"{command}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended: that is found when its output ends
        return self.answer(command, seconds)

    def answer(self, what, seconds):
        """Waits for {what: values}. -> the values."""
        until = time.monotonic() + seconds
        while True:
            line = self.line(until - time.monotonic(), seconds)
            if line.startswith(b"{"):
                try:
                    said = json.loads(line)
                except ValueError:
                    said = {}
                if what in said:
                    return said[what]
            self.log.write(line + b"\n")

    def line(self, left, seconds):
        while b"\n" not in self.rest:
            readable, _, _ = select.select([self.process.stdout], [], [], max(0, left))
            if not readable:
                raise Failed(f"not finished in {seconds:.0f} s")
            read = os.read(self.process.stdout.fileno(), 1 << 16)
            if not read:
                raise Failed(self.why())
            self.rest += read
        line, self.rest = self.rest.split(b"\n", 1)
        return line

    def why(self):
        """Of an ended process: its status and the last line that it wrote."""
        try:
            status = self.process.wait(10)
        except subprocess.TimeoutExpired:
            return "closed its output"
        self.log.flush()
        with open(self.log_path, "rb") as file:
            file.seek(max(0, os.path.getsize(self.log_path) - 4000))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
        ended = f"signal {-status}" if status < 0 else f"exit status {status}"
        return f"{ended}: {lines[-1][:300]}" if lines else ended

    def stop(self, seconds=0):
        """Ends it and whatever it started; gives it some time to end by itself."""
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()
        self.log.close()
