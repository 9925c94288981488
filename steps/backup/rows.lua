-- Turns the packets of a text result set into lines as LOAD DATA reads them. Runs in LuaJIT, called by wire_rows.py.
--
-- Bytes come in pieces that end anywhere. A row that lies whole in a piece is done at once; what is cut by a piece's end
-- (or by the end of a packet of 16 MiB) goes through `step`, which keeps its place in `S`.
local ffi = require("ffi")
ffi.cdef [[
typedef struct {
  int32_t phase;                  // what the next byte is
  int32_t have, need;             // bytes of a length: those that were there, all of them
  double value;                   // that length, so far
  double packet, field;           // bytes that are left of the packet, of the field
  int32_t column, next;           // column of the row; number of the next packet, -1 before the first
  int32_t whole;                  // the row ends with this packet, not in the next one
  int32_t line, carried, carry;   // Base64: characters in the line, bytes that wait (0 to 2), those bytes
  int32_t done, said;             // 1 after the last packet, 2 after an error; bytes of it in `text`
  double rows;
  uint8_t text[1024];
} tiphys_rows;
]]
-- Phases: a packet's header that begins a row; the first byte after it; a field's length; its bytes; an empty packet;
-- the packet after the rows; nothing more.
local HEADER, BEGIN, LENGTH, DATA, EMPTY, LAST, OVER = 0, 1, 2, 3, 4, 5, 6
local FULL = 16777215
local ESCAPED, PLAIN, BASE64 = 0, 1, 2
local TAB, NEWLINE, BACKSLASH = 9, 10, 92

local digits = ffi.new("uint8_t[64]")
ffi.copy(digits, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 64)
local band, lshift, rshift, bor = bit.band, bit.lshift, bit.rshift, bit.bor
local copy, cast = ffi.copy, ffi.cast
local words = ffi.typeof("uint64_t *")

local function escaped(src, i, stop, dst, o)
  while i < stop do
    local c = src[i]
    if c == TAB then
      dst[o], dst[o + 1] = BACKSLASH, 116
      o = o + 2
    elseif c == NEWLINE then
      dst[o], dst[o + 1] = BACKSLASH, 110
      o = o + 2
    elseif c == BACKSLASH then
      dst[o], dst[o + 1] = BACKSLASH, BACKSLASH
      o = o + 2
    else
      dst[o] = c
      o = o + 1
    end
    i = i + 1
  end
  return o
end

-- Eight bytes at a time where both buffers go on for that long: they do, by the slack that wire_rows.py gives them.
local function plain(src, i, length, dst, o)
  if length <= 8 then
    cast(words, dst + o)[0] = cast(words, src + i)[0]
  elseif length <= 16 then
    cast(words, dst + o)[0] = cast(words, src + i)[0]
    cast(words, dst + o + 8)[0] = cast(words, src + i + 8)[0]
  else
    copy(dst + o, src + i, length)
  end
  return o + length
end

local function group(a, b, c, dst, o)
  dst[o] = digits[rshift(a, 2)]
  dst[o + 1] = digits[bor(lshift(band(a, 3), 4), rshift(b, 4))]
  dst[o + 2] = digits[bor(lshift(band(b, 15), 2), rshift(c, 6))]
  dst[o + 3] = digits[band(c, 63)]
end

-- The server breaks Base64 into lines of 76 characters; the break is a newline, and so escaped.
local function broken(S, dst, o)
  if S.line == 76 then
    dst[o], dst[o + 1] = BACKSLASH, 110
    o = o + 2
    S.line = 0
  end
  S.line = S.line + 4
  return o
end

local function base64(S, src, i, stop, dst, o)
  while S.carried > 0 and i < stop do
    if S.carried == 1 then
      S.carry, S.carried = bor(lshift(S.carry, 8), src[i]), 2
    else
      o = broken(S, dst, o)
      group(rshift(S.carry, 8), band(S.carry, 255), src[i], dst, o)
      o, S.carried = o + 4, 0
    end
    i = i + 1
  end
  while i + 3 <= stop do
    o = broken(S, dst, o)
    group(src[i], src[i + 1], src[i + 2], dst, o)
    o, i = o + 4, i + 3
  end
  if S.carried == 0 and i < stop then
    if i + 1 == stop then
      S.carry, S.carried = src[i], 1
    else
      S.carry, S.carried = bor(lshift(src[i], 8), src[i + 1]), 2
    end
  end
  return o
end

local function base64_end(S, dst, o)
  if S.carried > 0 then
    o = broken(S, dst, o)
    if S.carried == 1 then
      group(S.carry, 0, 0, dst, o)
      dst[o + 2] = 61
    else
      group(rshift(S.carry, 8), band(S.carry, 255), 0, dst, o)
    end
    dst[o + 3] = 61
    o = o + 4
  end
  S.carried, S.line = 0, 0
  return o
end

-- One row that lies whole at src[i] to src[stop - 1].
local function row(S, kinds, count, src, i, stop, dst, o)
  for column = 0, count - 1 do
    if column > 0 then
      dst[o] = TAB
      o = o + 1
    end
    local length = src[i]
    i = i + 1
    if length == 251 then
      dst[o], dst[o + 1] = BACKSLASH, 78
      o = o + 2
    else
      if length == 252 then
        length = src[i] + src[i + 1] * 256
        i = i + 2
      elseif length == 253 then
        length = src[i] + src[i + 1] * 256 + src[i + 2] * 65536
        i = i + 3
      elseif length > 253 then
        error("a length that no field of a packet this small has", 0)
      end
      if i + length > stop then error("a field that ends after its packet", 0) end
      local kind = kinds[column]
      if kind == PLAIN then
        o = plain(src, i, length, dst, o)
      elseif kind == ESCAPED then
        o = escaped(src, i, i + length, dst, o)
      else
        o = base64_end(S, dst, base64(S, src, i, i + length, dst, o))
      end
      i = i + length
    end
  end
  if i ~= stop then error("a row that ends before its packet", 0) end
  dst[o] = NEWLINE
  return o + 1
end

local function numbered(S, number)
  if S.next ~= -1 and number ~= S.next then error("packet " .. number .. " where " .. S.next .. " was expected", 0) end
  S.next = band(number + 1, 255)
end

-- After a field, or after the last field of a row.
local function field_done(S, count, dst, o)
  S.column = S.column + 1
  if S.column < count then
    dst[o] = TAB
    S.phase, S.need = LENGTH, 0
    return o + 1
  end
  if S.packet > 0 then error("a row that ends before its packet", 0) end
  S.rows = S.rows + 1
  -- What fills packets to the last byte is followed by an empty one.
  S.phase = S.whole == 1 and HEADER or EMPTY
  dst[o] = NEWLINE
  return o + 1
end

-- A piece of a row, or of what stands around it. Returns the places in src and dst after it; the third value is true
-- where it needs more bytes than there are.
local function step(S, kinds, count, src, i, stop, dst, o)
  local phase = S.phase
  if phase == HEADER or phase == EMPTY or (S.packet == 0 and (phase == LENGTH or phase == DATA)) then
    if stop - i < 4 then return i, o, true end
    local size = src[i] + src[i + 1] * 256 + src[i + 2] * 65536
    numbered(S, src[i + 3])
    if phase == HEADER then
      if size == 0 then error("an empty packet where a row was expected", 0) end
      S.phase = BEGIN
    elseif phase == EMPTY then
      if size > 0 then error("a row that ends before its packet", 0) end
      S.phase = HEADER
    elseif S.whole == 1 then
      error("a packet that ends before its row", 0)
    end
    S.packet, S.whole = size, size < FULL and 1 or 0
    return i + 4, o
  end
  local c = src[i]
  if phase == BEGIN then
    if c == 255 or (c == 254 and S.packet < 9) then
      S.phase, S.done = LAST, c == 255 and 2 or 1
    else
      S.phase, S.column, S.need = LENGTH, 0, 0
    end
    return i, o
  elseif phase == LENGTH then
    S.packet = S.packet - 1
    if S.need == 0 then
      if c == 251 then
        dst[o], dst[o + 1] = BACKSLASH, 78
        return i + 1, field_done(S, count, dst, o + 2)
      elseif c > 251 then
        if c == 255 then error("an error within a row", 0) end
        S.need, S.have, S.value = c == 252 and 2 or c == 253 and 3 or 8, 0, 0
        return i + 1, o
      end
      S.field = c
    else
      S.value = S.value + c * 256 ^ S.have
      S.have = S.have + 1
      if S.have < S.need then return i + 1, o end
      S.field = S.value
    end
    S.phase = DATA
    if S.field == 0 then o = field_done(S, count, dst, o) end
    return i + 1, o
  elseif phase == DATA then
    local take = math.min(S.field, S.packet, stop - i)
    local kind = kinds[S.column]
    if kind == PLAIN then
      copy(dst + o, src + i, take)
      o = o + take
    elseif kind == ESCAPED then
      o = escaped(src, i, i + take, dst, o)
    else
      o = base64(S, src, i, i + take, dst, o)
    end
    S.field, S.packet = S.field - take, S.packet - take
    if S.field == 0 then
      if kind == BASE64 then o = base64_end(S, dst, o) end
      o = field_done(S, count, dst, o)
    end
    return i + take, o
  elseif phase == LAST then
    if S.said < 1024 then
      S.text[S.said] = c
      S.said = S.said + 1
    end
    S.packet = S.packet - 1
    if S.packet == 0 then S.phase = OVER end
    return i + 1, o
  end
  error("bytes after the last packet", 0)
end

-- Does what it can with src[0] to src[stop - 1]; returns how many bytes of it are used, and the length in dst.
local function feed(S, kinds, count, src, stop, dst, o)
  local i = 0
  while i < stop do
    local hungry
    if S.phase == HEADER and stop - i >= 5 then
      local size = src[i] + src[i + 1] * 256 + src[i + 2] * 65536
      local c = src[i + 4]
      if size > 0 and size < FULL and i + 4 + size <= stop and c < 254 then
        numbered(S, src[i + 3])
        o = row(S, kinds, count, src, i + 4, i + 4 + size, dst, o)
        S.rows = S.rows + 1
        i = i + 4 + size
      else
        i, o, hungry = step(S, kinds, count, src, i, stop, dst, o)
      end
    else
      i, o, hungry = step(S, kinds, count, src, i, stop, dst, o)
    end
    if hungry then break end
  end
  return i, o
end

return function(kinds)
  local S, count = ffi.new("tiphys_rows"), #kinds
  local held = ffi.new("int32_t[?]", count)
  for number = 1, count do held[number - 1] = kinds[number] end
  S.next = -1
  local bytes = ffi.typeof("uint8_t *")
  return function(src, stop, dst, o)
    local used, length = feed(S, held, count, cast(bytes, src), stop, cast(bytes, dst), o)
    local rows = S.rows
    S.rows = 0
    return used, length, rows, S.phase == OVER and S.done or 0
  end, function() return ffi.string(S.text, S.said) end
end
