-- Takes back what was counted. ARGV: charges; each: cost, levels, and when it was: nanoseconds in two parts;
-- each level: kind and its numbers, remembered state.
for _ = 1, number() do
  local cost, levels = number(), number()
  local up, low = number(), number()
  local since = {
    ns = max(0, (now_up - up) * 65536 + now_low - low),
    -- up * 65536 + low nanoseconds, in milliseconds rounded up.
    ms = floor(up / 15625) * 1024 + ceil(((up % 15625) * 65536 + low) / 1000000),
  }
  for _ = 1, levels do
    local level = read_level(key(), cost)
    level.kind.take_back(level, level.counts, since)
    save(level)
  end
end
return 1
