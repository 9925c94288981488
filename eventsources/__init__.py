"""The Argo EventSources of the pack, one per file: what can start a runbook from outside.

Each module with a function `build()` returns the manifest of one object; the file's name is the object's name.

They are plain dictionaries and not Hera's models: those are made from Argo's protobuf, whose shape is not what
the API takes (a webhook's fields stand one level too deep, numbers are texts, an object to create is base64), and
they drop unknown fields without a word, so they would protect from nothing.
"""
