"""What reports have in common, whatever they report on: verdicts, the page's frame, and JUnit XML."""
