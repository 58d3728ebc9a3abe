"""The first inferences of a process may come from several threads at once: OpenVINO by itself then hangs in every third process."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, sys, threading
import numpy as np, openvino
from openvino import opset13
from crossgeo.engine.runtime.openvino import missing

def first_inferences():
    assert missing("cpu") is None
    given = opset13.parameter([1], np.float32)
    model = openvino.Core().compile_model(openvino.Model([opset13.relu(given)], [given], "small"), "CPU")
    requests = [model.create_infer_request() for _ in range(4)]
    together = threading.Barrier(4)

    def ask(request):
        together.wait()
        request.infer([np.ones(1, np.float32)], share_inputs=True)[0]

    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=ask, args=(request,)) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

for number in range(10):  # processes in which nothing was inferred before
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        first_inferences()
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"process {number} hangs or fails")
"""


def test_threads_that_ask_first_at_once_do_not_wait_for_each_other_for_ever() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
