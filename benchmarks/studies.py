"""How long a study's steps take, and how much memory: reading, registration, preparation. Without the networks.

python benchmarks/studies.py STUDY...
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

from tumorctl.preparation.prepare import prepare
from tumorctl.studies import read_one


def measure(study: Path) -> dict[str, object]:
    """Seconds of the wall clock and of the processors, and the largest memory of the process so far."""
    started = time.perf_counter()
    found = read_one(study, {})
    read_s = time.perf_counter() - started
    processors = time.process_time()
    prepared = prepare(found)
    return {
        "study": found.study,
        "slices": list(prepared.slices.shape),
        "reading_s": round(read_s, 2),
        **{f"{step}_s": round(seconds, 2) for step, seconds in prepared.timings_s.items()},
        "processor_s": round(time.process_time() - processors, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    for study in parser.parse_args().studies:
        print(json.dumps(measure(study)))


if __name__ == "__main__":
    main()
