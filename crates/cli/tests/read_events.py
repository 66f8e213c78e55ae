"""Prints every scalar that TensorBoard finds in a folder, as JSON lines of tag, step and value.

Usage: python3 read_events.py FOLDER
"""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0}).Reload()
for tag in events.Tags()["scalars"]:
    for event in events.Scalars(tag):
        print(json.dumps([tag, event.step, event.value]))
