"""A real Redis Cluster for tests: masters on free ports that share the slots, and replicas."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from shared.redis_client import connect
from tests.polling import eventually
from tests.redis_server import RedisServer

N_SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
BUS_OFFSET = 10_000
FORM_S = 30.0


class ClusterServers:
    """The processes of a cluster.

    Args:
        binary: path of redis-server.
        folder: for the nodes' files.
        n_masters: nodes that share the slots evenly.
        n_replicas: further nodes; the first is a replica of the first master, and so on.
    """

    def __init__(self, binary: str, folder: Path, n_masters: int = 3, n_replicas: int = 0) -> None:
        self.nodes = [_node(binary, folder / f"node-{i}") for i in range(n_masters + n_replicas)]
        self.masters, self.replicas = self.nodes[:n_masters], self.nodes[n_masters:]

    @property
    def url(self) -> str:
        """For TH_REDIS_URL; names two nodes of all."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[:2])}"

    def start(self) -> None:
        """Start all nodes and wait until each thinks that the cluster is whole."""
        for node in self.nodes:
            node.start()
        ids = {node.port: ask(node, "CLUSTER MYID").decode() for node in self.nodes}
        share = -(-N_SLOTS // len(self.masters))
        for i, node in enumerate(self.masters):
            ask(node, "CLUSTER ADDSLOTS", *range(i * share, min(N_SLOTS, (i + 1) * share)))
            ask(node, "CLUSTER SET-CONFIG-EPOCH", i + 1)
        for node in self.nodes[1:]:
            ask(node, "CLUSTER MEET", "127.0.0.1", self.nodes[0].port)
        for node in self.nodes:
            eventually(lambda node=node: self._is_whole(node), FORM_S, "a whole cluster")  # type: ignore[misc]
        for master, replica in zip(self.masters, self.replicas, strict=False):
            eventually(lambda r=replica, m=master: _follow(r, ids[m.port]), FORM_S)  # type: ignore[misc]
            eventually(lambda m=master: _has_replica(m), FORM_S)  # type: ignore[misc]

    def kill(self) -> None:
        """SIGKILL all nodes."""
        for node in self.nodes:
            node.kill()

    def owner_of(self, tag: str) -> RedisServer:
        """The running node that owns the slot of a tag."""
        port = self._owner_port(tag)
        return next(node for node in self.nodes if node.port == port)

    def move(self, tag: str, target: RedisServer) -> None:
        """Give the slot of a tag to another master; the slot must be empty."""
        target_id = ask(target, "CLUSTER MYID").decode()
        for node in (target, *(node for node in self.masters if node is not target)):
            ask(node, "CLUSTER SETSLOT", key_slot(tag.encode()), "NODE", target_id)

    def _owner_port(self, tag: str) -> int:
        slot = key_slot(tag.encode())
        for node in self.nodes:
            try:
                ranges = ask(node, "CLUSTER SLOTS")
            except RedisError:
                continue
            return next(int(nodes[0][1]) for first, last, *nodes in ranges if first <= slot <= last)
        raise AssertionError("no node of the cluster answers")

    def _is_whole(self, node: RedisServer) -> bool:
        known = ask(node, "CLUSTER INFO")
        return bool(known["cluster_state"] == "ok" and int(known["cluster_known_nodes"]) == len(self.nodes))


@contextmanager
def running_cluster(binary: str, folder: Path, n_replicas: int = 0) -> Iterator[ClusterServers]:
    """Three masters, and replicas, until the block ends."""
    cluster = ClusterServers(binary, folder, n_replicas=n_replicas)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


def ask(node: RedisServer, *words: Any) -> Any:
    """One command to one node."""
    with connect(node.url, retries=0) as client:
        plain: Any = client
        return plain.execute_command(*words)


def _node(binary: str, folder: Path) -> RedisServer:
    options = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": str(NODE_TIMEOUT_MS),
        "cluster-require-full-coverage": "no",
        "repl-diskless-sync-delay": "0",
    }
    while (node := RedisServer(binary, folder, options)).port + BUS_OFFSET > 65_535:
        pass  # its bus needs a port, too
    return node


def _follow(replica: RedisServer, master_id: str) -> bool:
    try:
        return bool(ask(replica, "CLUSTER REPLICATE", master_id))
    except RedisError:
        return False  # it does not know that node yet


def _has_replica(master: RedisServer) -> bool:
    """True once the master sends what it writes; a replica that has loaded the first copy says so only later."""
    return bool(ask(master, "INFO", "replication").get("slave0", {}).get("state") == "online")
