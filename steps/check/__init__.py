"""What check-cluster looks at and how it judges it: each module one subject, reading apart from judging."""
