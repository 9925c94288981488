"""The WorkflowTemplates and CronWorkflows of the pack, one per file, written with Hera.

Each module has a function `build()` that returns the Hera object; the file's name is the object's name.
"""
