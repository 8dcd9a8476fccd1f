"""Speed and memory, side by side with a peer in the same run, as ratios of medians. Nothing here asserts a time.

Load only ever targets loopback and is bounded in count and time.
"""
