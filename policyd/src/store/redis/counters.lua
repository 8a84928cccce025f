-- Counters of policyd: what limiter/ does in Rust, on the same bytes, by Redis' own clock.
-- Doubles hold whole numbers up to 2^53 only, so nanoseconds since 1970 are two numbers: the upper part in
-- units of 2^16, and the lower 16 bits.

local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local stamp = redis.call('TIME')
local sec, micro = tonumber(stamp[1]), tonumber(stamp[2])
local ms_down, ms_up = sec * 1000 + floor(micro / 1000), sec * 1000 + ceil(micro / 1000)

local function upper_lower(seconds, nanos)
  local low = (seconds % 65536) * 1000000000 + nanos
  return floor(seconds / 65536) * 1000000000 + floor(low / 65536), low % 65536
end
local now_up, now_low = upper_lower(sec, micro * 1000)

-- Numbers of 6 bytes, least first.
local function six(state, at)
  local low, high = struct.unpack('<I4I2', state, at)
  return high * 4294967296 + low
end
local function six_bytes(number)
  number = min(number, 281474976710655)
  return struct.pack('<I4I2', number % 4294967296, floor(number / 4294967296))
end

local next_argument = 0
local function text()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end
local function number() return tonumber(text()) end

local kinds = {}

-- gcra: the time at which all is drained, 8 bytes.
kinds['1'] = {
  read = function()
    return { length = number(), room = number(), limit = number(), period = number(), rounding = number() }
  end,
  parse = function(_, state)
    if #state < 8 then return { left = 0 } end
    local low, high = struct.unpack('<I4I4', state)
    local up = high * 65536 + floor(low / 65536)
    return { left = max(0, (up - now_up) * 65536 + low % 65536 - now_low) }
  end,
  total = function(level, counts)
    local time = counts.left
    if time == 0 then return level.cost end
    local rest = time % level.period
    local exact = rest * level.limit
    local whole = floor(exact / level.period)
    local more = (exact - whole * level.period > level.rounding) and 1 or 0
    whole = floor(time / level.period) * level.limit + whole
    if whole == 0 then more = 1 end
    return whole + more + level.cost
  end,
  add = function(level, counts) counts.left = counts.left + level.length end,
  take_back = function(level, counts, since)
    counts.left = counts.left - max(0, level.length - since.ns)
  end,
  larger = function(_, one, other) return one.left >= other.left and one or other end,
  write = function(_, counts)
    if counts.left <= 0 then return nil end
    local low = now_low + counts.left
    local up = now_up + floor(low / 65536)
    low = low % 65536
    return struct.pack('<I4I4', (up % 65536) * 65536 + low, floor(up / 65536)), counts.left / 1000000
  end,
}

-- window: groups of events, each with its last event (milliseconds) and count, oldest first.
local function live_sum(level, groups)
  local sum = 0
  for _, group in ipairs(groups) do
    if group.last + level.period > ms_down then sum = sum + group.count end
  end
  return sum
end
kinds['2'] = {
  read = function() return { period = number(), width = number() } end,
  parse = function(_, state)
    local groups = {}
    for at = 2, #state - 11, 12 do
      groups[#groups + 1] = { last = six(state, at), count = six(state, at + 6) }
    end
    return groups
  end,
  total = function(level, groups) return live_sum(level, groups) + level.cost end,
  add = function(level, groups)
    for at = #groups, 1, -1 do
      if groups[at].last + level.period <= ms_down then table.remove(groups, at) end
    end
    if level.cost == 0 then return end
    local newest = groups[#groups]
    if newest and (floor(newest.last / level.width) == floor(ms_up / level.width) or newest.last > ms_up) then
      newest.last = max(newest.last, ms_up)
      newest.count = newest.count + level.cost
    else
      groups[#groups + 1] = { last = ms_up, count = level.cost }
    end
  end,
  take_back = function(level, groups, since)
    -- What is gone with its time is not taken from what came later.
    local gone = since.ms + level.period <= ms_down
    for _, group in ipairs(groups) do
      if not gone and group.last >= since.ms then
        group.count = max(0, group.count - level.cost)
        break
      end
    end
    for at = #groups, 1, -1 do
      local group = groups[at]
      if group.count == 0 or group.last + level.period <= ms_down then table.remove(groups, at) end
    end
  end,
  larger = function(level, one, other) return live_sum(level, one) >= live_sum(level, other) and one or other end,
  write = function(level, groups)
    if #groups == 0 then return nil end
    local together, sum, parts = max(0, #groups - 25), 0, {}
    for at, group in ipairs(groups) do
      sum = sum + group.count
      if at >= together then
        parts[#parts + 1] = six_bytes(group.last) .. six_bytes(sum)
        sum = 0
      end
    end
    return string.char(#parts) .. table.concat(parts), groups[#groups].last + level.period - ms_down
  end,
}

-- calendar: the beginning of the period (seconds, 4 bytes) and the count.
kinds['3'] = {
  read = function()
    local level = { start = number(), stop = number() }
    -- The asker's clock is behind: the next period has begun.
    if sec >= level.stop and level.stop > level.start then
      level.start, level.stop = level.stop, level.stop * 2 - level.start
    end
    return level
  end,
  parse = function(level, state)
    if #state < 10 then return { start = level.start, count = 0 } end
    local start = struct.unpack('<I4', state)
    if start < level.start then return { start = level.start, count = 0 } end
    if start > level.stop then start = level.start end
    return { start = start, count = six(state, 5) }
  end,
  total = function(level, counts) return counts.count + level.cost end,
  add = function(level, counts) counts.count = counts.count + level.cost end,
  take_back = function(level, counts) counts.count = max(0, counts.count - level.cost) end,
  larger = function(_, one, other) return one.count >= other.count and one or other end,
  write = function(level, counts)
    if counts.count == 0 then return nil end
    return struct.pack('<I4', counts.start) .. six_bytes(counts.count), (counts.start - level.start + level.stop - sec) * 1000
  end,
}

-- distinct: members with first and last appearance (seconds) and hash, the longest unseen first.
local function members_used(level, members)
  local used, known = 0, false
  for _, member in ipairs(members) do
    local since = level.memory > 0 and member.first or member.last
    local counts = since + level.period > sec
    if counts then used = used + 1 end
    if member.hash == level.cost and (counts or (level.memory > 0 and member.last + level.kept > sec)) then
      known = true
    end
  end
  return used, known
end
kinds['4'] = {
  read = function() return { period = number(), memory = number(), kept = number() } end,
  parse = function(_, state)
    local members = {}
    for at = 3, #state - 11, 12 do
      local first, last, hash = struct.unpack('<I4I4I4', state, at)
      members[#members + 1] = { first = first, last = last, hash = hash }
    end
    return members
  end,
  total = function(level, members)
    local used, known = members_used(level, members)
    return known and used or used + 1
  end,
  add = function(level, members)
    local first = sec
    for at = #members, 1, -1 do
      local member = members[at]
      if member.last + level.kept <= sec then
        table.remove(members, at)
      elseif member.hash == level.cost then
        first = member.first
        table.remove(members, at)
      end
    end
    members[#members + 1] = { first = first, last = sec, hash = level.cost }
  end,
  take_back = function() end,
  larger = function(level, one, other)
    return members_used(level, one) >= members_used(level, other) and one or other
  end,
  write = function(level, members)
    if #members == 0 then return nil end
    local parts, last = {}, 0
    for at = max(1, #members - 255), #members do
      local member = members[at]
      last = max(last, member.last)
      parts[#parts + 1] = struct.pack('<I4I4I4', member.first, member.last, member.hash)
    end
    return struct.pack('<I2', #parts) .. table.concat(parts), (last + level.kept - sec) * 1000
  end,
}

-- One level: what it is, what is stored of it, and what a host remembers of it after the store was away.
local function read_level(key, cost)
  local kind = kinds[text()]
  local level = kind.read()
  level.kind, level.key, level.cost = kind, key, cost
  local stored = redis.call('GET', key) or ''
  level.counts = kind.parse(level, stored)
  local remembered = text()
  if remembered ~= '' then
    local counts = kind.parse(level, remembered)
    local larger = kind.larger(level, level.counts, counts)
    if larger == counts then stored = remembered end
    level.counts = larger
  end
  level.stored = stored
  return level
end

local function save(level)
  local state, ms = level.kind.write(level, level.counts)
  if state and ms > 0 then
    redis.call('SET', level.key, state, 'PX', string.format('%.0f', ceil(ms) + 1000))
  else
    redis.call('DEL', level.key)
  end
end

local next_key = 0
local function key()
  next_key = next_key + 1
  return KEYS[next_key]
end
