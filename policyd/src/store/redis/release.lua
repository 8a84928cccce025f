-- Takes back what was counted. ARGV: reign, charges; each: cost, levels, and when it was: nanoseconds in two
-- parts; each level: kind and its numbers, remembered state.
-- Answer: seconds, microseconds, the state of each level after.
local answer = { sec, micro }
for _ = 1, number() do
  local cost, levels = number(), number()
  local up, low = number(), number()
  local when = {
    ns = max(0, (now_up - up) * 65536 + now_low - low),
    -- up * 65536 + low nanoseconds, in milliseconds rounded up.
    ms = floor(up / 15625) * 1024 + ceil(((up % 15625) * 65536 + low) / 1000000),
  }
  when.in_reign = when.ms > born * 1000 + tonumber(born_micro) / 1000
  for _ = 1, levels do
    local level = read_level(key(), cost)
    take_back(level, when)
    save(level)
    answer[#answer + 1] = level.kind.write(level, level.counts) or ''
  end
end
return answer
