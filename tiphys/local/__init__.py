"""The local platform: real MySQL, Router and S3 behind the Kubernetes API, on one machine, without root."""
