#!/usr/bin/env python3
"""Our broker and Apache Kafka in one sitting, by the workloads of perf.sh: what transactions and idempotence cost, and what a MB costs each.

  sitting.py BINARY      PAIRS (12) rounds; RECORDS (300,000 of 1 KiB) a run; ONLY="fetch-1p plain-16k" picks workloads

A round runs each workload once on each server, on a topic of its own that is deleted afterwards; servers and workloads change their order from
round to round, so that neither is always the one behind the other. The first round warms up and does not count. Prints, for each server, processor
time per MB, and ratios of runs of one round: geometric mean, 95 % interval (Student's t on logarithms), least and largest. For `paced-5k`
the milliseconds to an acknowledgement, which the tool tells in whole ones; at the end the anonymous memory of both.

In a virtual machine, let a process write to most of its memory once before: pages that the host has yet to find are dear to whoever writes them first.
"""
import math, os, pathlib, shutil, signal, socket, statistics, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
PAIRS = int(os.environ.get("PAIRS", 12))
RECORDS = os.environ.get("RECORDS", "300000")
TOPICS = {"plain-16k": "p1", "idempotent-16k": "p1", "idempotent-256k": "p1", "transactional-100ms": "p8", "idempotent-8p": "p8", "fetch-1p": "p1", "paced-5k": "p1"}
if wanted := os.environ.pop("ONLY", "").split():
    TOPICS = {workload: TOPICS[workload] for workload in wanted}
# What is put beside what, on one server.
COSTS = [(dear, cheap) for dear, cheap in [("transactional-100ms", "idempotent-8p"), ("idempotent-16k", "plain-16k")] if {dear, cheap} <= set(TOPICS)]


def free_ports():
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
                return port
            except OSError:
                pass


def start(work, binary):
    """Name -> (address, process id), and what stops them."""
    port = free_ports()
    script = HERE / "kafka.sh"
    subprocess.run([script, "start", work / "kafka", str(port)], check=True, stdout=subprocess.DEVNULL)
    kafka = int((work / "kafka/pid").read_text())
    ours = subprocess.Popen(
        [binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", work / "ours"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    address = ours.stdout.readline().split()[-1]

    def stop():
        ours.send_signal(signal.SIGTERM)
        ours.wait()
        subprocess.run([script, "stop", work / "kafka"], check=True)

    return {"ours": (address, ours.pid), "kafka": (f"127.0.0.1:{port}", kafka)}, stop


def run(name, address, process, workload, number):
    """What perf.sh tells of one run, from the processor time on: ms per MB, p50, p99, p99.9, MiB anonymous."""
    # A reader needs something to read; it was written long enough ago to be nobody's cost.
    said = perf(name, address, process, "plain-16k fetch-1p" if workload == "fetch-1p" else workload, number)
    rows = [line.split("\t") for line in said.splitlines()[1:]]
    found = {row[1]: row[4:9] for row in rows if len(row) > 8}
    delete = [HERE / "kafka.sh", "run", "topics", "--bootstrap-server", address, "--delete", "--topic", f"{TOPICS[workload]}-{number}"]
    subprocess.run(delete, check=True, stdout=subprocess.DEVNULL)
    if workload not in found:
        sys.exit(f"{name} {workload}: {said}")
    return [float(figure) if figure != "-" else math.nan for figure in found[workload]]


def perf(name, address, process, only, number):
    env = dict(os.environ, ONLY=only, RECORDS=RECORDS, FIRST=str(number))
    ran = subprocess.run([HERE / "perf.sh", name, address, str(process), "1"], env=env, check=True, stdout=subprocess.PIPE, text=True)
    return ran.stdout


def interval(ratios):
    logs = [math.log(ratio) for ratio in ratios]
    mean, more = statistics.fmean(logs), len(logs) - 1
    if more < 1:
        return math.exp(mean), math.nan, math.nan
    t = 1.95996 + 2.37 / more + 2.82 / more**2  # the 97.5 % point of Student's t, to a per cent from 5 degrees of freedom on
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def told(what, ratios):
    mean, low, high = interval(ratios)
    print(f"| {what} | {mean:.3f} | {low:.3f} to {high:.3f} | {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)


def main(binary):
    work = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("DIR") or HERE / "../../target", prefix="sitting-"))
    servers, stop = start(work, binary)
    rows = {(name, workload): [] for name in servers for workload in TOPICS}
    number = 0
    try:
        for pair in range(PAIRS + 1):
            for workload in list(TOPICS)[:: 1 if pair % 2 else -1]:
                for name in list(servers)[:: 1 if pair // 2 % 2 else -1]:
                    number += 1
                    row = run(name, *servers[name], workload, number)
                    if pair:
                        rows[name, workload].append(row)
            print(f"round {pair} of {PAIRS}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    finally:
        stop()
        shutil.rmtree(work)
    found = {which: [row[0] for row in of] for which, of in rows.items()}
    print("| ms of CPU per MB | ours | Kafka |")
    for workload in TOPICS:
        print(f"| {workload} | " + " | ".join(spread(found[name, workload]) for name in servers) + " |")
    if "paced-5k" in TOPICS:
        print("| ms to an acknowledgement, paced-5k | ours | Kafka |")
        for place, what in enumerate(["p50", "p99", "p99.9"], 1):
            print(f"| {what} | " + " | ".join(spread([row[place] for row in rows[name, "paced-5k"]]) for name in servers) + " |")
    print("| MiB anonymous, last run | " + " | ".join(f"{rows[name, workload][-1][4]:.1f}" for name in servers) + " |")
    print("| ratio | mean | 95 % interval | least to largest |")
    for dear, cheap in COSTS:
        for name in servers:
            told(f"{dear} / {cheap}, {name}", [a / b for a, b in zip(found[name, dear], found[name, cheap])])
    for workload in TOPICS:
        told(f"MB per CPU-second of {workload}, ours / Kafka", [k / o for o, k in zip(found["ours", workload], found["kafka", workload])])


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
