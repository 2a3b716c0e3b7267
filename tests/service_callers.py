"""What the client processes of the tests of faults do: ``service_callers.py COMMAND …``."""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
import traceback

import skyhook_casa
from skyhook_casa.errors import ServiceBusy


def stream(address: str, dataset: str, batch_bytes: str) -> None:
    """Tell how many events came, batch by batch; go on when told to. Lines: events, then "end"."""
    query = skyhook_casa.connect(address).query(dataset)
    for batch in query.batches(batch_bytes=int(batch_bytes)):
        print(batch.num_rows, flush=True)
        sys.stdin.readline()
    print("end", flush=True)


def load(address: str, questions: str, threads: str, seconds: str, seed: str) -> None:
    """Ask random questions from many clients until time is over, and check each answer.

    Parameters
    ----------
    questions : str
        JSON list: arguments of `query`, events expected, and the sum of their numbers.
    """
    asked = json.loads(questions)
    end_s = time.monotonic() + float(seconds)
    counts = {"answers": 0, "busy": 0}
    wrong: list[str] = []
    lock = threading.Lock()

    def one_client(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        with skyhook_casa.connect(address, progress=False) as client:
            while time.monotonic() < end_s and not wrong:
                arguments, events, total = rng.choice(asked)
                kind = "busy"
                try:
                    found = client.query(**arguments).to_arrow()["event"].to_numpy()
                except ServiceBusy:
                    time.sleep(rng.random())
                except Exception:  # noqa: BLE001
                    wrong.append(f"{arguments}: {traceback.format_exc()}")
                else:
                    kind = "answers"
                    if (len(found), int(found.sum())) != (events, total) or len(set(found)) != events:
                        wrong.append(
                            f"{arguments}: {len(found)} of {events} events, {len(set(found))} different"
                        )
                with lock:
                    counts[kind] += 1

    running = [threading.Thread(target=one_client, args=(number,)) for number in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print(json.dumps({**counts, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    # Whoever starts the tests in the background may have told their processes to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    {"stream": stream, "load": load}[sys.argv[1]](*sys.argv[2:])
