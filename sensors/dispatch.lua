-- Makes of a delivery of GitHub what the webhook's event is (header, body, run), and says which runbook is meant:
-- that of the event type, if the repository is ours. The id of the delivery, which stays when it is sent again, is the
-- run's key; with any other event no runbook is meant.
local event, ours = ...
local sent = type(event.body) == "table" and event.body or {}
local from = type(sent.repository) == "table" and sent.repository.full_name
local made = {header = {}}
if sent["X-GitHub-Event"] == "repository_dispatch" and type(sent.action) == "string" and type(from) == "string"
    and from:lower() == ours:lower() then
  local key = tostring(sent["X-GitHub-Delivery"] or ""):lower()
  made.header["Idempotency-Key"] = {key}
  made.runbook, made.body, made.run = sent.action, sent.client_payload, sent.action .. "-" .. key
end
return made
