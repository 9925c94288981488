"""The gateway: EventSources and Sensors on the local platform.

It does what Argo Events does with the same objects, with two wanted differences: what Argo drops after it answered
200 (a filter, a value that does not resolve) is evaluated first and answered 4xx with the reason; and a body is
read as JSON whatever its Content-Type says, where Argo reads curl's default as a form and drops the event.
"""
