# SPDX-License-Identifier: MIT
"""One contestant's process: it lives through a whole run and works when it is its turn."""

import json
import os
import pathlib
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]

# One thread, whatever a library's threads come from.
_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "NUMEXPR_NUM_THREADS",
)
# What a machine's owner set for one BLAS must favour nobody.
_NOBODYS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "ROTORQUANT_SIMD", "FAISS_OPT_LEVEL")


class Failed(Exception):
    """The contestant answered with an error, died or took too long."""


class Session:
    def __init__(self, contestant, server, core, log):
        """server: path of compare_server; core: the only one that the process may use; log: a file
        for what the contestant prints."""
        self.contestant = contestant
        command = [str(server)]
        if contestant.kind != "ours":
            command = [sys.executable, "-m", "bench.compare.peer_server", contestant.kind]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(contestant.env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )

    def ask(self, op, timeout=3600.0, **arguments):
        """The reply to one command. Throws Failed."""
        alarm = threading.Timer(timeout, self.process.kill)
        alarm.start()
        try:
            self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            alarm.cancel()
        if not line:
            status = self.process.wait()
            raise Failed(f"{op}: ended with status {status} (after at most {timeout:.0f} s)")
        reply = json.loads(line)
        if "error" in reply:
            raise Failed(f"{op}: {reply['error']}")
        return reply

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment(extra):
    env = {name: value for name, value in os.environ.items() if name not in _NOBODYS}
    env.update(dict.fromkeys(_ONE_THREAD, "1"))
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env["TF_CPP_MIN_LOG_LEVEL"] = "3"
    return env | extra
