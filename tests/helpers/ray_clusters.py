"""Ray clusters for tests, on one machine, in namespaces of their own: nodes that can be killed, stopped, cut off and healed.

`three_nodes(folder)` has its nodes behind one loopback address; `apart(folder)` has each in a network namespace of its own, on a bridge.
Ray sees no network but these. What uses a cluster runs in its namespaces, too: `cluster.run([...])`, `cluster.start([...])`.

Everything is a child of one process that is the first of a PID namespace: when that ends, or this program does, all of it ends. Where
namespaces are not permitted, `three_nodes` does without: at ports that are free, and ended by a process that waits for this one to end.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import crossgeo
from crossgeo.engine.cluster.ray_start import CLIENT_PORT, PORT, NodeOptions, environment, make_token, start

T = TypeVar("T")
HEAD = 0
_NODE, _CLUSTER = "CROSSGEO_TEST_NODE", "CROSSGEO_TEST_CLUSTER"  # in the environment of what is started here
STORE_BYTES = 80_000_000
ROOT = Path(crossgeo.__file__).parent
_KEEPER = r"""
import fcntl, os, signal, socket, struct, sys
with socket.socket() as any:  # the loopback up, as `ip link set lo up` does: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
    fcntl.ioctl(any, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
def reap(*_):
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0: return
        except ChildProcessError: return
signal.signal(signal.SIGCHLD, reap)
print("there", flush=True)
sys.stdin.read()  # until the test is done, or dead
"""


@dataclass
class TestCluster:
    """A cluster that runs; `addresses` of its nodes, the head's first."""

    __test__ = False
    folder: Path
    addresses: tuple[str, ...]
    keeper: int | None  # the first process of the namespaces, where there are any
    spaces: tuple[str, ...] = ()  # network namespaces of the nodes, where they are apart
    settings: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, int] = (PORT, CLIENT_PORT)

    @property
    def address(self) -> str:
        """Return what --cluster says."""
        return f"{self.addresses[HEAD]}:{self.ports[0]}"

    @property
    def client_address(self) -> str:
        """Return what --cluster says to go through Ray Client."""
        return f"ray://{self.addresses[HEAD]}:{self.ports[1]}"

    @property
    def token(self) -> Path:
        """Return the token file."""
        return self.folder / "token"

    def start(self, command: Sequence[str], node: int = HEAD, **changes: Any) -> subprocess.Popen[str]:
        """Start a command where a node is."""
        inside = [] if self.keeper is None else [*_inside(self.keeper), f"--wd={ROOT}"]
        if self.spaces:
            inside += ["ip", "netns", "exec", self.spaces[node]]
        told: dict[str, Any] = {"env": self.env(), "cwd": ROOT, "text": True, "stdin": subprocess.DEVNULL, **changes}
        told["env"] = {**told["env"], _CLUSTER: str(self.folder)}
        return subprocess.Popen([*inside, *command], **told)

    def run(self, command: Sequence[str], node: int = HEAD, timeout_s: float = 120.0, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run a command where a node is, to its end."""
        process = self.start(command, node, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **changes)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{command} took more than {timeout_s} s: {out}\n{err}") from None
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def python(self, script: str, node: int = HEAD, timeout_s: float = 120.0, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run Python code where a node is."""
        return self.run([sys.executable, "-c", script], node, timeout_s, **changes)

    def start_node(self, node: int, cpus: int = 1, mounts: Sequence[Sequence[str]] = (), gpus: int | None = None, **env: str) -> None:
        """Start (again) what makes a machine a node, with variables of its own, and with what it alone is to `mount`."""
        options = NodeOptions(
            address=None if node == HEAD else self.address, host=self.addresses[node], port=self.ports[0], client_port=self.ports[1],
            cpus=cpus, gpus=gpus,
            object_store_bytes=STORE_BYTES, temp_dir=self.folder / (f"r{node}" if self.spaces else "r"),
        )  # fmt: skip
        command = list(start(options))
        if mounts:
            script = "".join(f"{shlex.join(['mount', *mount])} && " for mount in mounts) + 'exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
        done = self.run(command, node, env={**self.env(), **env, _NODE: str(node)})
        assert done.returncode == 0, done.stdout + done.stderr

    def start_nodes(self, nodes: int, cpus: int) -> None:
        """Start a head, then the others, all at once where each has a folder of its own."""
        self.start_node(HEAD, cpus)
        with ThreadPoolExecutor(nodes if self.spaces else 1) as pool:
            list(pool.map(lambda node: self.start_node(node, cpus), range(1, nodes)))

    def processes(self, node: int) -> list[int]:
        """Return the raylet of a node and all that it started, by the numbers that this program sees."""
        return _with_children(self._raylets(node))

    def workers(self, node: int | None = None) -> list[int]:
        """Return the processes that do tasks and actors, of a node or of all."""
        nodes = range(len(self.addresses)) if node is None else [node]
        return [pid for one in nodes for pid in self.processes(one) if _command(pid).startswith(("ray::attempt", "ray::RayHost"))]

    def kill_head(self) -> None:
        """End what joins the nodes, and leaves them alone with each other."""
        (pid,) = (pid for pid in self._ours() if Path(_command(pid).split(" ")[0]).name == "gcs_server")
        os.kill(pid, signal.SIGKILL)

    def drivers(self, program: str = "cluster_driver.py") -> list[int]:
        """Return the processes in whose command a program stands."""
        return [pid for pid in self._ours() if program in _command(pid)]

    def kill_worker(self, node: int) -> int:
        """Kill a process of a node while it does a task or an actor's call; return it."""
        pid = wait_for(f"work on node {node}", lambda: next(iter(self.workers(node)), 0))
        os.kill(pid, signal.SIGKILL)
        return pid

    def signal(self, node: int, number: int) -> None:
        """Send a signal to all processes of a node."""
        for pid in self.processes(node):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, node: int) -> None:
        """End a node at once, as a machine that loses its power."""
        self.signal(node, signal.SIGKILL)

    def restore(self) -> None:
        """Start again what a test has ended; a test before may have left a node stopped, too."""
        for node in range(len(self.addresses)):
            self.signal(node, signal.SIGCONT)
            if not self._raylets(node):
                self.start_node(node)

    def cut(self, node: int) -> None:
        """Cut a node off: whatever is sent to it or by it is lost."""
        self._wire(node, "down")

    def heal(self, node: int) -> None:
        """Connect a node again."""
        self._wire(node, "up")

    def _wire(self, node: int, state: str) -> None:
        assert self.spaces, "only nodes that are apart can be cut off"
        assert self.keeper is not None
        _run(self.keeper, "ip", "link", "set", f"wire{node}", state)

    def env(self) -> dict[str, str]:
        """Return the variables that programs are started with."""
        path = os.pathsep.join([str(ROOT / ".namespace"), str(ROOT / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return {**kept, **environment(self.token), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **self.settings}

    def _ours(self) -> list[int]:
        return [pid for pid in _parents() if f"{_CLUSTER}={self.folder}".encode() in _environment(pid)]

    def _raylets(self, node: int) -> list[int]:
        mark = f"{_NODE}={node}".encode()
        return [pid for pid in self._ours() if Path(_command(pid).split(" ")[0]).name == "raylet" and mark in _environment(pid)]


def _inside(keeper: int) -> list[str]:
    return ["nsenter", "-t", str(keeper), "--net", "--pid", "--mount", "--uts"]


def _parents() -> dict[int, int]:
    """Return the parents of all processes that are seen here."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def _with_children(pids: list[int]) -> list[int]:
    """Return processes and all that they started."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found, left = [], list(pids)
    while left:
        pid = left.pop()
        found.append(pid)
        left += children.get(pid, [])
    return found


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _environment(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


@contextmanager
def three_nodes(folder: Path, nodes: int = 3, cpus: int = 1, settings: Mapping[str, str] | None = None) -> Iterator[TestCluster]:
    """Have a cluster of nodes behind one loopback; `folder` is short, since Ray puts sockets below it."""
    with _keeper() if may_unshare() else _watcher(folder) as keeper:
        ports = (PORT, CLIENT_PORT) if keeper is not None else (_free_port(), _free_port())
        cluster = TestCluster(folder, ("127.0.0.1",) * nodes, keeper, settings=settings or {}, ports=ports)
        make_token(cluster.token)
        cluster.start_nodes(nodes, cpus)
        yield cluster


def may_unshare() -> bool:
    """Return whether this process may have namespaces."""
    command = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


@contextmanager
def nowhere(folder: Path) -> Iterator[TestCluster]:
    """Have namespaces with a loopback and without any Ray."""
    with _keeper() as keeper:
        yield TestCluster(folder, ("127.0.0.1",), keeper)


@contextmanager
def apart(folder: Path, nodes: int = 3, cpus: int = 1, settings: Mapping[str, str] | None = None) -> Iterator[TestCluster]:
    """Have a cluster of nodes in network namespaces of their own, joined by a bridge."""
    with _keeper() as keeper:
        spaces = tuple(f"geo{os.getpid()}-{node}" for node in range(nodes))
        cluster = TestCluster(folder, tuple(f"10.77.0.{node + 1}" for node in range(nodes)), keeper, spaces, settings or {})
        _run(keeper, "mount", "-t", "tmpfs", "tmpfs", "/run")  # where `ip netns` keeps names: those of this namespace alone
        _run(keeper, "ip", "link", "add", "bridge", "type", "bridge")
        _run(keeper, "ip", "link", "set", "bridge", "up")
        for node, space in enumerate(spaces):
            _run(keeper, "ip", "netns", "add", space)
            _run(keeper, "ip", "link", "add", f"wire{node}", "type", "veth", "peer", "name", "eth0", "netns", space)
            _run(keeper, "ip", "link", "set", f"wire{node}", "master", "bridge", "up")
            _run(keeper, "ip", "-n", space, "addr", "add", f"{cluster.addresses[node]}/24", "dev", "eth0")
            _run(keeper, "ip", "-n", space, "link", "set", "eth0", "up")
            _run(keeper, "ip", "-n", space, "link", "set", "lo", "up")
        make_token(cluster.token)
        cluster.start_nodes(nodes, cpus)
        yield cluster


@contextmanager
def _keeper() -> Iterator[int]:
    """Have namespaces of processes, mounts and networks, kept by their first process; yield its number as it is seen here."""
    command = ["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", _KEEPER]
    outer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert outer.stdin is not None
    assert outer.stdout is not None
    try:
        assert outer.stdout.readline() == "there\n"
        (inner,) = (int(pid) for pid in Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split())
        yield inner
    finally:
        outer.stdin.close()  # the first process ends, and all others of its namespace with it
        outer.wait(30)
        outer.stdout.close()


@contextmanager
def _watcher(folder: Path) -> Iterator[None]:
    """Have a process that ends all of a cluster when this context, or this program, ends."""
    code = f"import sys, ray_clusters, pathlib; sys.stdin.read(); ray_clusters.end_all(pathlib.Path({str(folder)!r}))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / ".namespace"), str(ROOT / "tests" / "helpers")])}
    watcher = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=env, start_new_session=True)
    try:
        yield None
    finally:
        watcher.communicate(timeout=60)


def end_all(folder: Path) -> None:
    """End all that was started for a cluster."""
    while ours := TestCluster(folder, (), None)._ours():
        for pid in _with_children(ours):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _run(keeper: int, *command: str) -> None:
    done = subprocess.run([*_inside(keeper), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def wait_for(what: str, seen: Callable[[], T], timeout_s: float = 60.0) -> T:
    """Wait until `seen()` is true, and return it."""
    until = time.monotonic() + timeout_s
    while not (found := seen()):
        assert time.monotonic() < until, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)
    return found


def lines(text: str) -> list[Any]:
    """Return the JSON objects of a program's output."""
    return [json.loads(line) for line in text.splitlines() if line.startswith(("{", "["))]
