-- Decides whether a webhook's event (header, body) fits the rules of a runbook; returns that, and the reason why not.
local event, rules = ...

local function show(value)
  local text = tostring(value)
  -- Cut at the end of a character: the reason must be valid UTF-8.
  if #text > 60 then text = text:sub(1, 60):gsub("[\128-\255]+$", "") .. "..." end
  return "'" .. text .. "'"
end

local function check_text(rule, value)
  if not rule.alphabet then
    if #value > 1024 then return "is longer than 1024 characters" end
    if value:find("{{", 1, true) then return "holds '{{', which Argo would expand" end
    if value:find("%c") then return "holds a control character" end
  elseif #value > rule.longest or not value:find("^[" .. rule.first .. "]") or not value:find("[" .. rule.last .. "]$")
      or value:find("[^" .. rule.alphabet .. "]") then
    return show(value) .. " does not match " .. rule.pattern
  end
end

local function check_number(rule, value)
  local text = tostring(value)
  local number = value
  if type(value) == "string" then
    local form = rule.kind == "integer" and "^%-?%d+$" or "^%-?%d+%.?%d*$"
    number = #text <= 20 and text:find(form) and tonumber(text) or nil
  end
  if type(number) ~= "number" or (rule.kind == "integer" and number ~= math.floor(number)) then
    return show(value) .. " is no " .. rule.kind
  end
  if number < (rule.least or -9007199254740992) then return text .. " is less than " .. (rule.least or "-2^53") end
  if number > (rule.most or 9007199254740992) then return text .. " is more than " .. (rule.most or "2^53") end
end

local function check_value(rule, value)
  if type(value) == "table" then return "must be one value, not an object or a list" end
  if value == "" and rule.may_be_empty then return nil end
  if rule.kind == "integer" or rule.kind == "number" then return check_number(rule, value) end
  if rule.allowed then
    local text = tostring(value)
    for _, one in ipairs(rule.allowed) do
      if text == one then return nil end
    end
    return show(value) .. " is not one of: " .. table.concat(rule.allowed, ", ")
  end
  if type(value) ~= "string" then return "must be a text, such as \"" .. tostring(value) .. "\"" end
  return check_text(rule, value)
end

local function check_key(keys)
  if #keys > 1 then return "the header Idempotency-Key must be sent once, not " .. #keys .. " times" end
  local key = keys[1]
  if type(key) ~= "string" or #key > 40 or not key:find("^[a-z0-9]") or not key:find("[a-z0-9]$")
      or key:find("[^a-z0-9%-]") then
    return "the header Idempotency-Key must be 1 to 40 characters of a-z, 0-9 and -, not - at its ends"
  end
end

local function check_body(body)
  if type(body) ~= "table" then return "the body must be a JSON object such as {\"cluster\": \"demo\"}" end
  local names, known, unknown = {}, {}, {}
  for _, rule in ipairs(rules) do
    names[rule.name] = rule
    known[#known + 1] = rule.name
  end
  for name in pairs(body) do
    if type(name) ~= "string" then return "the body must be a JSON object, not a list" end
    if not names[name] then unknown[#unknown + 1] = show(name) end
  end
  if #unknown > 0 then
    table.sort(unknown)
    return "unknown parameter " .. table.concat(unknown, ", ", 1, math.min(#unknown, 5)) .. "; this runbook takes: "
      .. table.concat(known, ", ")
  end
  for _, rule in ipairs(rules) do
    local value = body[rule.name]
    if value == nil then
      if rule.required then return "parameter '" .. rule.name .. "' is missing; it has no default" end
    else
      local wrong = check_value(rule, value)
      if wrong then return "parameter '" .. rule.name .. "': " .. wrong end
    end
  end
end

local keys = type(event.header) == "table" and event.header["Idempotency-Key"] or nil
local reason = check_body(event.body) or (keys ~= nil and check_key(keys) or nil)
return reason == nil, reason
