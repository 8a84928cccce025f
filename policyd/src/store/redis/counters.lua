-- Counters of policyd: what limiter/ does in Rust, on the same bytes, by Redis' own clock.
-- Doubles hold whole numbers up to 2^53 only, so nanoseconds since 1970 are two numbers: the upper part in
-- units of 2^16, and the lower 16 bits.
--
-- KEYS[1] and ARGV[1] are the reign that the asker knows (see begin.lua). In another reign nothing is done, and
-- that one is the answer: what was remembered of the old one has to be given back first.
--
-- A reign begins with what this Redis holds then, perhaps nothing. What the hosts remember are views of the same
-- counters, so the greatest of them holds, and on top of it what was counted since the reign began. So that
-- views can come one by one and in any order, a young reign keeps behind each state what was counted since: a
-- view makes of the state max(state, view + since).

local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local stamp = redis.call('TIME')
local sec, micro = tonumber(stamp[1]), tonumber(stamp[2])
local ms_down, ms_up = sec * 1000 + floor(micro / 1000), sec * 1000 + ceil(micro / 1000)

local function upper_lower(seconds, nanos)
  local low = (seconds % 65536) * 1000000000 + nanos
  return floor(seconds / 65536) * 1000000000 + floor(low / 65536), low % 65536
end
local now_up, now_low = upper_lower(sec, micro * 1000)

local reign = redis.call('GET', KEYS[1])
if not reign or reign ~= ARGV[1] then return reign or '' end
local born, born_micro = string.match(reign, '^(%d+)%.(%d+)$')
born = tonumber(born)
-- What begins what was counted since: that of another reign is not read.
local mark = struct.pack('<I4I4', born, tonumber(born_micro))
-- Seconds for which views are expected.
local youth = max(0, min(600, born + 600 - sec))

-- Numbers of 6 bytes, least first.
local function six(state, at)
  local low, high = struct.unpack('<I4I2', state, at)
  return high * 4294967296 + low
end
local function six_bytes(number)
  number = min(number, 281474976710655)
  return struct.pack('<I4I2', number % 4294967296, floor(number / 4294967296))
end

local next_argument = 1
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
  -- What is left to drain; below zero it is drained for so long.
  parse = function(_, state)
    if #state < 8 then return { left = 0 } end
    local low, high = struct.unpack('<I4I4', state)
    local up = high * 65536 + floor(low / 65536)
    return { left = (up - now_up) * 65536 + low % 65536 - now_low }
  end,
  length = function() return 8 end,
  nothing = string.rep('\0', 8),
  total = function(level, counts)
    local time = counts.left
    if time <= 0 then return level.cost end
    local rest = time % level.period
    local exact = rest * level.limit
    local whole = floor(exact / level.period)
    local more = (exact - whole * level.period > level.rounding) and 1 or 0
    whole = floor(time / level.period) * level.limit + whole
    if whole == 0 then more = 1 end
    return whole + more + level.cost
  end,
  add = function(level, counts) counts.left = max(0, counts.left) + level.length end,
  take_back = function(level, counts, when)
    counts.left = counts.left - max(0, level.length - when.ns)
  end,
  -- What was counted since does not drain by itself: it is what is added to whatever was there before.
  parse_since = function(_, bytes)
    local low, high = struct.unpack('<I4I4', bytes)
    return { left = high * 4294967296 + low }
  end,
  write_since = function(_, since)
    if since.left <= 0 then return nil end
    return struct.pack('<I4I4', since.left % 4294967296, floor(since.left / 4294967296))
  end,
  merge = function(_, counts, view, since)
    local left = view.left + since.left
    if left <= max(0, counts.left) then return false end
    counts.left = left
    return true
  end,
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
  nothing = '\0',
  length = function(state) return 1 + 12 * (string.byte(state) or 0) end,
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
  take_back = function(level, groups, when)
    -- What is gone with its time is not taken from what came later.
    local gone = when.ms + level.period <= ms_down
    for _, group in ipairs(groups) do
      if not gone and group.last >= when.ms then
        group.count = max(0, group.count - level.cost)
        break
      end
    end
    for at = #groups, 1, -1 do
      local group = groups[at]
      if group.count == 0 or group.last + level.period <= ms_down then table.remove(groups, at) end
    end
  end,
  -- Group by group: those of the same stretch of time are the same group.
  merge = function(level, groups, view, since)
    local own, known, raised = {}, {}, false
    local function stretch(group) return floor(group.last / level.width) end
    for _, group in ipairs(groups) do own[stretch(group)] = group end
    for _, side in ipairs({ view, since }) do
      for _, group in ipairs(side) do
        if group.last + level.period > ms_down then
          local at = stretch(group)
          known[at] = known[at] or { last = 0, count = 0 }
          known[at].last = max(known[at].last, group.last)
          known[at].count = known[at].count + group.count
        end
      end
    end
    for at, group in pairs(known) do
      if not own[at] then
        groups[#groups + 1] = group
        raised = true
      elseif group.count > own[at].count or group.last > own[at].last then
        own[at].count, own[at].last = max(own[at].count, group.count), max(own[at].last, group.last)
        raised = true
      end
    end
    table.sort(groups, function(one, other) return one.last < other.last end)
    return raised
  end,
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
    -- Farther off it is a wrong clock's, unless it has begun: then the asker has not asked for long.
    if start > level.stop and start > sec then start = level.start end
    return { start = start, count = six(state, 5) }
  end,
  length = function() return 10 end,
  nothing = string.rep('\0', 10),
  total = function(level, counts) return counts.count + level.cost end,
  add = function(level, counts) counts.count = counts.count + level.cost end,
  take_back = function(level, counts) counts.count = max(0, counts.count - level.cost) end,
  merge = function(_, counts, view, since)
    -- What is of an earlier period is nothing.
    local count = view.count > 0 and view.count + since.count or 0
    if count <= counts.count then return false end
    counts.count, counts.start = count, max(counts.start, view.start)
    return true
  end,
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
  length = function(state) return #state < 2 and 0 or 2 + 12 * struct.unpack('<I2', state) end,
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
  keeps_all = true,
  -- Whom any host has seen was seen; nothing is added up.
  merge = function(level, members, view)
    local own, raised = {}, false
    for _, member in ipairs(members) do own[member.hash] = member end
    for _, seen in ipairs(view) do
      local member = own[seen.hash]
      if not member and seen.last + level.kept > sec then
        members[#members + 1] = seen
        own[seen.hash], raised = seen, true
      elseif member and (seen.first < member.first or seen.last > member.last) then
        member.first, member.last = min(seen.first, member.first), max(seen.last, member.last)
        raised = true
      end
    end
    table.sort(members, function(one, other) return one.last < other.last end)
    return raised
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

-- What was counted since is a state of the same kind, where a kind does not say otherwise.
local function read_since(level, bytes)
  local kind = level.kind
  if kind.keeps_all then return nil end
  if string.sub(bytes, 1, 8) ~= mark then return kind.parse(level, '') end
  return (kind.parse_since or kind.parse)(level, string.sub(bytes, 9))
end

-- One level: what it is, what is stored of it, and what a host remembers of it from before this reign.
local function read_level(key, cost)
  local kind = kinds[text()]
  local level = kind.read()
  level.kind, level.key, level.cost = kind, key, cost
  local bytes = redis.call('GET', key) or ''
  local length = min(kind.length(bytes), #bytes)
  level.stored = string.sub(bytes, 1, length)
  level.counts = kind.parse(level, level.stored)
  level.since = read_since(level, string.sub(bytes, length + 1))
  local view = text()
  if view ~= '' and kind.merge(level, level.counts, kind.parse(level, view), level.since) then
    level.raised = true
    level.stored = kind.write(level, level.counts) or ''
  end
  return level
end

local function add(level)
  level.kind.add(level, level.counts)
  if level.since and youth > 0 then level.kind.add(level, level.since) end
end

-- `when` is how long ago it was counted (nanoseconds), the moment (milliseconds), and whether in this reign.
local function take_back(level, when)
  level.kind.take_back(level, level.counts, when)
  if level.since and when.in_reign then level.kind.take_back(level, level.since, when) end
end

local function save(level)
  local state, ms = level.kind.write(level, level.counts)
  local since = level.since and youth > 0 and (level.kind.write_since or level.kind.write)(level, level.since)
  if since then
    -- A rate that has drained by itself would not have drained on top of what a view may tell yet.
    state, ms = (state or level.kind.nothing) .. mark .. since, max(ms or 0, youth * 1000)
  end
  if state and ms > 0 then
    redis.call('SET', level.key, state, 'PX', string.format('%.0f', ceil(ms) + 1000))
  else
    redis.call('DEL', level.key)
  end
end

local next_key = 1
local function key()
  next_key = next_key + 1
  return KEYS[next_key]
end
