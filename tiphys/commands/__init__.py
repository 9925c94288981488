"""The tool's commands, one module a subject; `tiphys.cli` loads a module when its command is used."""
