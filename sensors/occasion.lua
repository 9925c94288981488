-- Adds to a calendar's event which occasion it is: the minute in UTC, such as 20261125-1000. Its eventTime is Go's:
-- "2026-11-25 11:00:00.000241 +0100 CET m=+86.4". A time that cannot be read adds nothing, and so starts nothing.
local time = type(event.eventTime) == "string" and event.eventTime or ""
local y, m, d, hour, minute, sign, off_hour, off_minute =
  time:match("^(%d%d%d%d)%-(%d%d)%-(%d%d) (%d%d):(%d%d):%d%d[.%d]* ([+-])(%d%d)(%d%d)")
if y then
  -- Days since March of the year 0, and back: months from March on, so that the leap day is a year's last.
  local year, month = tonumber(y), tonumber(m) - 3
  if month < 0 then year, month = year - 1, month + 12 end
  local days = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * month + 2) / 5) + tonumber(d) - 1
  local offset = tonumber(off_hour) * 60 + tonumber(off_minute)
  if sign == "-" then offset = -offset end
  local minutes = days * 1440 + tonumber(hour) * 60 + tonumber(minute) - offset
  days = math.floor(minutes / 1440)
  minutes = minutes - days * 1440
  local era = math.floor(days / 146097)
  local day_of_era = days - era * 146097
  local year_of_era = math.floor((day_of_era - math.floor(day_of_era / 1460) + math.floor(day_of_era / 36524)
    - math.floor(day_of_era / 146096)) / 365)
  local day = day_of_era - (365 * year_of_era + math.floor(year_of_era / 4) - math.floor(year_of_era / 100))
  month = math.floor((5 * day + 2) / 153)
  day = day - math.floor((153 * month + 2) / 5) + 1
  year = era * 400 + year_of_era
  month = month + 3
  if month > 12 then year, month = year + 1, month - 12 end
  event.occasion = string.format("%04d%02d%02d-%02d%02d", year, month, day, math.floor(minutes / 60), minutes % 60)
end
return event
