"""The S3 server of the local platform: versitygw over a folder, else moto's server.

versitygw is taken from PATH, from the cache, or built once from its Go module in the background. Where it can
be neither found nor built, moto's server stands in, which forgets everything when it stops.
"""
