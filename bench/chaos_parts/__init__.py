"""The parts of bench/chaos.py: the drills, what is done to them, and what they must not leave behind."""
