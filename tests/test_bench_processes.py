"""What the bench and the soak are told by the kernel about processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from bench import processes


def test_cpu_is_read_to_less_than_a_tick():
    cpu, began = processes.CPU(os.getpid()), time.process_time()
    while time.process_time() - began < 0.03:
        pass
    assert cpu.used() == pytest.approx(time.process_time() - began, abs=0.005)


def test_cpu_agrees_with_proc_stat():
    fields = (processes.PROC / str(os.getpid()) / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    assert processes.cpu(os.getpid()) == pytest.approx(ticks / os.sysconf("SC_CLK_TCK"), abs=0.05)


BUSY_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import sys, time
while time.process_time() < 0.2: pass
print("done", flush=True)
sys.stdin.read()
'''])
child.wait()
"""


def test_the_whole_tree_counts_and_a_process_that_ends_is_no_longer_guessed_at():
    child = subprocess.Popen(
        [sys.executable, "-c", BUSY_CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        cpu = processes.CPU(child.pid)
        assert child.stdout.readline() == b"done\n"
        assert cpu.used() >= 0.2
        both = processes.tree(child.pid)
        assert len(both) == 2
        assert processes.pss(child.pid) > processes.pss(both[1]) > 2**20
        assert processes.pss(child.pid, "Pss_Anon") < processes.pss(child.pid)
        cpu = processes.CPU(child.pid)
        child.stdin.close()
        child.wait()
        with pytest.raises(processes.Vanished):
            cpu.used()


FAMILY = """
import os, signal, sys, time
def child(does):
    pid = os.fork()
    if not pid:
        does()
        os.write(1, b"up\\n")
        time.sleep(60)
    return pid
def works():
    signal.signal(signal.SIGABRT, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: None)
worker = child(works)
forked = child(lambda: None)
ended = child(lambda: os.write(1, b"up\\n") and os._exit(0))
executed = child(lambda: os.execlp("sh", "sh", "-c", "echo up; exec sleep 60"))
os.write(1, f"{worker} {forked} {ended} {executed}\\n".encode())
time.sleep(60)
"""


def test_worker_is_told_from_the_other_children_of_its_master():
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as master:
        lines = [master.stdout.readline() for _ in range(5)]
        try:
            (family,) = (list(map(int, line.split())) for line in lines if line != "up\n")
            assert sorted(processes.children(master.pid)) == sorted(family)
            assert processes.workers(master.pid) == [family[0]]
            os.kill(family[0], signal.SIGKILL)
            while processes.workers(master.pid):
                time.sleep(0.01)
            assert family[0] in processes.children(master.pid)  # nobody has asked how it ended
        finally:
            for pid in processes.children(master.pid):
                os.kill(pid, signal.SIGKILL)
            master.kill()
    assert processes.workers(master.pid) == []
