"""CPU and memory from /proc: of the daemons, of both servers, and of everybody else on the machine."""

import os
import subprocess
import threading

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
UPKEEP = ("postgres: checkpointer", "postgres: background writer", "postgres: autovacuum")


def read_stats():
    """{pid: (parent, ms of its own, ms with its ended children)}"""
    stats = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        times = [int(x) * TICK_MS for x in fields[11:15]]
        stats[int(entry)] = (int(fields[1]), times[0] + times[1], sum(times))
    return stats


def tree_ms(stats, roots):
    """Of these processes and all below them, ended children included."""
    total, todo, below = 0, list(roots), {}
    for pid, (parent, _, _) in stats.items():
        below.setdefault(parent, []).append(pid)
    while todo:
        pid = todo.pop()
        total += stats[pid][2] if pid in stats else 0
        todo += below.get(pid, [])
    return total


def process_ms(pid):
    """Finer than a tick, for one process that ends no children."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e6


def peak_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0


def pids_of(tool):
    out = subprocess.run([os.environ[tool], "pid"], check=True, capture_output=True, text=True).stdout
    return [int(x) for x in out.split()]


def server_pids():
    """PostgreSQL's and those of the broker's nodes."""
    return pids_of("AGWB_TEST_PG_CTL"), pids_of("AGWB_TEST_BROKER_CTL")


class Neighbours:
    """Which share of the machine was not ours: used by foreign processes, or stolen by the host, since it was made. What the kernel does by itself
    (interrupts, its own threads) is nobody's."""

    def __init__(self):
        self.ours = [os.getpid(), *sum(server_pids(), [])]
        with open("/proc/2/comm") as f:
            if f.read().strip() == "kthreadd":
                self.ours.append(2)
        self.begun = self.read()

    def read(self):
        with open("/proc/stat") as f:
            user, nice, system, idle, wait, irq, softirq, steal = (int(x) * TICK_MS for x in f.readline().split()[1:9])
        everybody = user + nice + system
        return everybody - tree_ms(read_stats(), self.ours), steal, everybody + idle + wait + irq + softirq + steal

    def share(self):
        foreign, stolen, whole = (now - then for now, then in zip(self.read(), self.begun))
        return (max(foreign, 0) + stolen) / max(whole, 1)


class Upkeep(threading.Thread):
    """What PostgreSQL does by the clock and not for a statement: autovacuum, checkpoints, the background writer. A worker lives for a moment, so they
    are looked at while they run."""

    def __init__(self, postmaster):
        super().__init__(daemon=True)
        self.postmaster, self.over = postmaster, threading.Event()
        self.first, self.last, self.workers = {}, {}, set()

    def look(self):
        try:
            with open(f"/proc/{self.postmaster}/task/{self.postmaster}/children") as f:
                children = f.read().split()
        except OSError:
            return
        for pid in children:
            try:
                with open(f"/proc/{pid}/cmdline") as f:
                    name = f.read()
                if not name.startswith(UPKEEP):
                    continue
                ms = process_ms(pid)
            except OSError:
                continue
            is_worker = name.startswith("postgres: autovacuum worker")
            self.first.setdefault(pid, 0 if is_worker else ms)
            self.last[pid] = ms
            if is_worker:
                self.workers.add(pid)

    def run(self):
        self.look()
        while not self.over.wait(0.05):
            self.look()

    def stop(self):
        self.over.set()
        self.join()
        self.look()
        return sum(self.last[p] - self.first[p] for p in self.last), len(self.workers)


class Meter:
    """CPU between start() and stop(), in milliseconds per 1,000 messages; upkeep is a part of PostgreSQL's."""

    def __init__(self, daemons):
        self.daemons = daemons
        self.postgres, self.broker = server_pids()

    def read(self):
        stats = read_stats()
        return sum(process_ms(d.pid) for d in self.daemons), tree_ms(stats, self.postgres), tree_ms(stats, self.broker)

    def start(self):
        self.upkeep = Upkeep(self.postgres[0])
        self.upkeep.start()
        self.neighbours = Neighbours()
        self.begun = self.read()

    def stop(self, count):
        own, pg, broker = (now - then for now, then in zip(self.read(), self.begun))
        disturbed = self.neighbours.share()
        upkeep, vacuums = self.upkeep.stop()
        per_thousand = 1000 / count
        return {"own_ms": own * per_thousand, "pg_ms": pg * per_thousand, "broker_ms": broker * per_thousand,
                "upkeep_ms": upkeep * per_thousand, "autovacuums": vacuums, "disturbed": disturbed}
