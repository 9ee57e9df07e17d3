"""One load in a fresh process: seconds beyond importing torch, on the clock and of the processor."""

import json
import sys
import time

import torch  # noqa: F401

begun, worked = time.perf_counter(), time.process_time()

import rl  # noqa: E402

agent = rl.load(sys.argv[1], game="breakout")
print(json.dumps([time.perf_counter() - begun, time.process_time() - worked, agent.source]))
