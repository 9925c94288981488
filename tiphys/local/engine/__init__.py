"""The local engine: runs Workflows, WorkflowTemplates and CronWorkflows as Argo Workflows 4.1 does.

It is small and strict. A field that it does not honour ends the workflow with an error that names the field's
path (:mod:`tiphys.local.engine.supported`). The core is pure: :func:`tiphys.local.engine.operate.advance` maps
a Workflow, its pods and the time to the Workflow's next state and to the pods to create and to stop; the edge
(:mod:`tiphys.local.engine.controller`) only watches, calls it and writes.
"""
