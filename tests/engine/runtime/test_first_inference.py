"""The first inferences of a process may come from several threads at once: OpenVINO by itself then hangs in every third process."""

from __future__ import annotations

import subprocess
import sys

PROCESSES, WAIT_S = 4, 120
PROGRAM = """
import sys, threading
import numpy as np, openvino
from openvino import opset13
from crossgeo.engine.runtime.openvino import missing

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
"""


def test_threads_that_ask_first_at_once_do_not_wait_for_each_other_for_ever() -> None:
    started = [subprocess.Popen([sys.executable, "-c", PROGRAM]) for _ in range(PROCESSES)]
    try:
        assert [process.wait(WAIT_S) for process in started] == [0] * PROCESSES
    finally:
        for process in started:
            process.kill()
            process.wait()
